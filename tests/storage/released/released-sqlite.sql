BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004_tools');
CREATE TABLE alerts (
	subject_id TEXT NOT NULL, 
	month BIGINT NOT NULL, 
	percent BIGINT NOT NULL, 
	workspace_id TEXT NOT NULL, 
	budget BIGINT NOT NULL, 
	spent BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	PRIMARY KEY (subject_id, month, percent)
);
INSERT INTO "alerts" VALUES('k1',202611,50,'w2',10,6,1763000005);
CREATE TABLE api_keys (
	id TEXT NOT NULL, 
	workspace_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	mode TEXT NOT NULL, 
	last_four TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	revoked_at BIGINT, 
	expires_at BIGINT, 
	last_used_at BIGINT, budget BIGINT, spent BIGINT DEFAULT '0' NOT NULL, spent_month BIGINT DEFAULT '0' NOT NULL, alerted_percent BIGINT DEFAULT '0' NOT NULL, scopes TEXT DEFAULT 'responses personas:read personas:write focus_groups usage:read' NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(workspace_id) REFERENCES workspaces (id), 
	UNIQUE (digest)
);
INSERT INTO "api_keys" VALUES('k1','w2','Old','digest-1','live','abcd',1763000002,NULL,NULL,NULL,100,6,202611,0,'responses personas:read personas:write focus_groups usage:read');
INSERT INTO "api_keys" VALUES('k2','w1','Gone','digest-2','test','efgh',1763000003,1763000009,NULL,NULL,NULL,0,0,0,'responses personas:read personas:write focus_groups usage:read');
CREATE TABLE idempotency (
	key_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	request_digest TEXT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	content_type TEXT, 
	body TEXT, 
	PRIMARY KEY (key_id, name)
);
INSERT INTO "idempotency" VALUES('k1','again','rd',9999999999,'application/json','{"ok": true}');
CREATE TABLE ledger (
	id INTEGER NOT NULL, 
	workspace_id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	reference TEXT NOT NULL, 
	credits BIGINT NOT NULL, 
	key_id TEXT, 
	note TEXT, 
	created_at BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "ledger" VALUES(1,'w2','grant','w2 202611',5000,NULL,NULL,1763000004);
INSERT INTO "ledger" VALUES(2,'w2','reserve','r1',-3,'k1',NULL,1763000005);
INSERT INTO "ledger" VALUES(3,'w2','reserve','r2',-3,'k1',NULL,1763000006);
CREATE TABLE media (
	id TEXT NOT NULL, 
	workspace_id TEXT NOT NULL, 
	tool TEXT NOT NULL, 
	status TEXT NOT NULL, 
	progress BIGINT NOT NULL, 
	provider_id TEXT, 
	content_type TEXT, 
	bytes BIGINT, 
	error TEXT, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	completed_at BIGINT, 
	PRIMARY KEY (id)
);
INSERT INTO "media" VALUES('m1','w2','generate_image','completed',100,NULL,NULL,NULL,NULL,1763000005,1763000006,NULL);
CREATE TABLE milestones (
	name TEXT NOT NULL, 
	reached_at BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "milestones" VALUES('first_key',1763000002);
CREATE TABLE persona_versions (
	persona_id TEXT NOT NULL, 
	version BIGINT NOT NULL, 
	sheet TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	PRIMARY KEY (persona_id, version)
);
INSERT INTO "persona_versions" VALUES('p1',1,'{}',1763000005);
CREATE TABLE personas (
	id TEXT NOT NULL, 
	workspace_id TEXT NOT NULL, 
	mode TEXT NOT NULL, 
	version BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	category TEXT NOT NULL, 
	credits_charged BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	deleted_at BIGINT, 
	PRIMARY KEY (id)
);
INSERT INTO "personas" VALUES('p1','w2','live',1,'Nurse','Professional',300,1763000005,1763000005,NULL);
CREATE TABLE reservations (
	run_id TEXT NOT NULL, 
	workspace_id TEXT NOT NULL, 
	key_id TEXT NOT NULL, 
	credits BIGINT NOT NULL, 
	month BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	PRIMARY KEY (run_id)
)
 WITHOUT ROWID

;
INSERT INTO "reservations" VALUES('r2','w2','k1',3,202611,1763000066);
CREATE TABLE tool_calls (
	id TEXT NOT NULL, 
	workspace_id TEXT NOT NULL, 
	key_id TEXT NOT NULL, 
	run_id TEXT NOT NULL, 
	tool TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	status TEXT NOT NULL, 
	milliseconds BIGINT NOT NULL, 
	characters BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "tool_calls" VALUES('t1','w2','k1','r1','tavily_search','index','completed',5,100,1763000005);
CREATE TABLE usage (
	workspace_id TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	run_id TEXT NOT NULL, 
	key_id TEXT NOT NULL, 
	persona_id TEXT, 
	status TEXT NOT NULL, 
	input_tokens BIGINT NOT NULL, 
	output_tokens BIGINT NOT NULL, 
	credits BIGINT NOT NULL, 
	milliseconds BIGINT NOT NULL, persona_version BIGINT, personas TEXT, 
	PRIMARY KEY (workspace_id, created_at, run_id)
)
 WITHOUT ROWID

;
INSERT INTO "usage" VALUES('w2',1763000005,'r1','k1','p1','completed',700,22,3,1200,NULL,NULL);
CREATE TABLE workspaces (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	"plan" TEXT NOT NULL, 
	created_at BIGINT NOT NULL, requests_per_minute BIGINT, requests_per_day BIGINT, concurrent_runs BIGINT, monthly_credits BIGINT, unlimited BIGINT DEFAULT '0' NOT NULL, balance BIGINT DEFAULT '0' NOT NULL, granted_month BIGINT DEFAULT '0' NOT NULL, budget BIGINT, spent BIGINT DEFAULT '0' NOT NULL, spent_month BIGINT DEFAULT '0' NOT NULL, alerted_percent BIGINT DEFAULT '0' NOT NULL, tools TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "workspaces" VALUES('w1','First','enterprise',1763000000,NULL,NULL,NULL,NULL,1,0,0,NULL,0,0,0,NULL);
INSERT INTO "workspaces" VALUES('w2','Zweite; mit Umlaut ä','pro',1763000001,NULL,NULL,NULL,NULL,0,4994,202611,800,6,202611,0,'tavily_search');
CREATE INDEX api_keys_by_workspace ON api_keys (workspace_id, created_at);
CREATE UNIQUE INDEX ledger_once ON ledger (reference, kind);
CREATE INDEX personas_by_workspace ON personas (workspace_id, mode);
CREATE INDEX tool_calls_newest ON tool_calls (workspace_id, created_at);
CREATE INDEX media_unfinished ON media (status, updated_at);
COMMIT;
