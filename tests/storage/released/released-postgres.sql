CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.alerts (
    subject_id text NOT NULL,
    month bigint NOT NULL,
    percent bigint NOT NULL,
    workspace_id text NOT NULL,
    budget bigint NOT NULL,
    spent bigint NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE public.api_keys (
    id text NOT NULL,
    workspace_id text NOT NULL,
    name text NOT NULL,
    digest text NOT NULL,
    mode text NOT NULL,
    last_four text NOT NULL,
    created_at bigint NOT NULL,
    revoked_at bigint,
    expires_at bigint,
    last_used_at bigint,
    budget bigint,
    spent bigint DEFAULT '0'::bigint NOT NULL,
    spent_month bigint DEFAULT '0'::bigint NOT NULL,
    alerted_percent bigint DEFAULT '0'::bigint NOT NULL,
    scopes text DEFAULT 'responses personas:read personas:write focus_groups usage:read'::text NOT NULL
);
CREATE TABLE public.idempotency (
    key_id text NOT NULL,
    name text NOT NULL,
    request_digest text NOT NULL,
    expires_at bigint NOT NULL,
    content_type text,
    body text
);
CREATE TABLE public.ledger (
    id bigint NOT NULL,
    workspace_id text NOT NULL,
    kind text NOT NULL,
    reference text NOT NULL,
    credits bigint NOT NULL,
    key_id text,
    note text,
    created_at bigint NOT NULL
);
CREATE SEQUENCE public.ledger_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.ledger_id_seq OWNED BY public.ledger.id;
CREATE TABLE public.media (
    id text NOT NULL,
    workspace_id text NOT NULL,
    tool text NOT NULL,
    status text NOT NULL,
    progress bigint NOT NULL,
    provider_id text,
    content_type text,
    bytes bigint,
    error text,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    completed_at bigint
);
CREATE TABLE public.milestones (
    name text NOT NULL,
    reached_at bigint NOT NULL
);
CREATE TABLE public.persona_versions (
    persona_id text NOT NULL,
    version bigint NOT NULL,
    sheet text NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE public.personas (
    id text NOT NULL,
    workspace_id text NOT NULL,
    mode text NOT NULL,
    version bigint NOT NULL,
    name text NOT NULL,
    category text NOT NULL,
    credits_charged bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    deleted_at bigint
);
CREATE TABLE public.reservations (
    run_id text NOT NULL,
    workspace_id text NOT NULL,
    key_id text NOT NULL,
    credits bigint NOT NULL,
    month bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE TABLE public.tool_calls (
    id text NOT NULL,
    workspace_id text NOT NULL,
    key_id text NOT NULL,
    run_id text NOT NULL,
    tool text NOT NULL,
    provider text NOT NULL,
    status text NOT NULL,
    milliseconds bigint NOT NULL,
    characters bigint NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE public.usage (
    workspace_id text NOT NULL,
    created_at bigint NOT NULL,
    run_id text NOT NULL,
    key_id text NOT NULL,
    persona_id text,
    status text NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    credits bigint NOT NULL,
    milliseconds bigint NOT NULL,
    persona_version bigint,
    personas text
);
CREATE TABLE public.workspaces (
    id text NOT NULL,
    name text NOT NULL,
    plan text NOT NULL,
    created_at bigint NOT NULL,
    requests_per_minute bigint,
    requests_per_day bigint,
    concurrent_runs bigint,
    monthly_credits bigint,
    unlimited bigint DEFAULT '0'::bigint NOT NULL,
    balance bigint DEFAULT '0'::bigint NOT NULL,
    granted_month bigint DEFAULT '0'::bigint NOT NULL,
    budget bigint,
    spent bigint DEFAULT '0'::bigint NOT NULL,
    spent_month bigint DEFAULT '0'::bigint NOT NULL,
    alerted_percent bigint DEFAULT '0'::bigint NOT NULL,
    tools text
);
ALTER TABLE ONLY public.ledger ALTER COLUMN id SET DEFAULT nextval('public.ledger_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('0004_tools');
INSERT INTO public.alerts VALUES ('k1', 202611, 50, 'w2', 10, 6, 1763000005);
INSERT INTO public.api_keys VALUES ('k1', 'w2', 'Old', 'digest-1', 'live', 'abcd', 1763000002, NULL, NULL, NULL, 100, 6, 202611, 0, 'responses personas:read personas:write focus_groups usage:read');
INSERT INTO public.api_keys VALUES ('k2', 'w1', 'Gone', 'digest-2', 'test', 'efgh', 1763000003, 1763000009, NULL, NULL, NULL, 0, 0, 0, 'responses personas:read personas:write focus_groups usage:read');
INSERT INTO public.idempotency VALUES ('k1', 'again', 'rd', 9999999999, 'application/json', '{"ok": true}');
INSERT INTO public.ledger VALUES (1, 'w2', 'grant', 'w2 202611', 5000, NULL, NULL, 1763000004);
INSERT INTO public.ledger VALUES (2, 'w2', 'reserve', 'r1', -3, 'k1', NULL, 1763000005);
INSERT INTO public.ledger VALUES (3, 'w2', 'reserve', 'r2', -3, 'k1', NULL, 1763000006);
INSERT INTO public.media VALUES ('m1', 'w2', 'generate_image', 'completed', 100, NULL, NULL, NULL, NULL, 1763000005, 1763000006, NULL);
INSERT INTO public.milestones VALUES ('first_key', 1763000002);
INSERT INTO public.persona_versions VALUES ('p1', 1, '{}', 1763000005);
INSERT INTO public.personas VALUES ('p1', 'w2', 'live', 1, 'Nurse', 'Professional', 300, 1763000005, 1763000005, NULL);
INSERT INTO public.reservations VALUES ('r2', 'w2', 'k1', 3, 202611, 1763000066);
INSERT INTO public.tool_calls VALUES ('t1', 'w2', 'k1', 'r1', 'tavily_search', 'index', 'completed', 5, 100, 1763000005);
INSERT INTO public.usage VALUES ('w2', 1763000005, 'r1', 'k1', 'p1', 'completed', 700, 22, 3, 1200, NULL, NULL);
INSERT INTO public.workspaces VALUES ('w1', 'First', 'enterprise', 1763000000, NULL, NULL, NULL, NULL, 1, 0, 0, NULL, 0, 0, 0, NULL);
INSERT INTO public.workspaces VALUES ('w2', 'Zweite; mit Umlaut ä', 'pro', 1763000001, NULL, NULL, NULL, NULL, 0, 4994, 202611, 800, 6, 202611, 0, 'tavily_search');
SELECT pg_catalog.setval('public.ledger_id_seq', 3, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.alerts
    ADD CONSTRAINT alerts_pkey PRIMARY KEY (subject_id, month, percent);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_digest_key UNIQUE (digest);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (key_id, name);
ALTER TABLE ONLY public.ledger
    ADD CONSTRAINT ledger_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.media
    ADD CONSTRAINT media_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.milestones
    ADD CONSTRAINT milestones_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.persona_versions
    ADD CONSTRAINT persona_versions_pkey PRIMARY KEY (persona_id, version);
ALTER TABLE ONLY public.personas
    ADD CONSTRAINT personas_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.reservations
    ADD CONSTRAINT reservations_pkey PRIMARY KEY (run_id);
ALTER TABLE ONLY public.tool_calls
    ADD CONSTRAINT tool_calls_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.usage
    ADD CONSTRAINT usage_pkey PRIMARY KEY (workspace_id, created_at, run_id);
ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_pkey PRIMARY KEY (id);
CREATE INDEX api_keys_by_workspace ON public.api_keys USING btree (workspace_id, created_at);
CREATE UNIQUE INDEX ledger_once ON public.ledger USING btree (reference, kind);
CREATE INDEX media_unfinished ON public.media USING btree (status, updated_at);
CREATE INDEX personas_by_workspace ON public.personas USING btree (workspace_id, mode);
CREATE INDEX tool_calls_newest ON public.tool_calls USING btree (workspace_id, created_at);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES public.workspaces(id);
