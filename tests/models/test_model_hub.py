"""Models from a hub: a stub on loopback with a small file, in place of files that nobody here can fetch."""

import hashlib
import random
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mavera.models.choice import choose_model
from mavera.models.embedded.catalogue import CATALOGUE, LARGER_MODELS, CatalogueModel, HubFile, Projector
from mavera.models.embedded.gguf import NotGguf, read_shape
from mavera.models.embedded.hub import MOST_REDIRECTS, Hub
from mavera.models.embedded.memory import (
    check_memory,
    compute_needed_bytes,
    count_fitting_slots,
    describe_suggestion,
    estimate_needed_bytes,
)
from mavera.models.embedded.partial import PullError
from mavera.models.embedded.pull import (
    ask_projector_size,
    is_here,
    pull,
    remove,
    resolve_model,
    resolve_projector,
)
from mavera.models.embedded.pulled import describe_address, find_known, keep_description, list_pulled
from mavera.settings import Settings
from tests.support.hub_stub import HubStub, running_hub

GB = 10**9
REPOSITORY, REVISION = "owner/tiny-GGUF", "0123456789abcdef"


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def make_gguf(size: int = 200_000, **numbers: int) -> bytes:
    """A file that begins as GGUF files do: what it is, its shape, a vocabulary, and then anything."""
    pairs = [text("general.architecture") + struct.pack("<I", 8) + text("tiny")]
    pairs += [text("general.license") + struct.pack("<I", 8) + text("apache-2.0")]
    pairs += [text(f"tiny.{name}") + struct.pack("<II", 4, value) for name, value in numbers.items()]
    words = b"".join(text(f"word{n}") for n in range(100))
    pairs += [text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 100) + words]
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)
    return head + random.Random(7).randbytes(size - len(head))


SHAPE = {
    "block_count": 4,
    "attention.head_count": 8,
    "attention.head_count_kv": 2,
    "attention.key_length": 16,
    "attention.value_length": 16,
}
TOKEN_BYTES = 4 * 2 * (16 + 16) * 2
CONTENT, EYES = make_gguf(**SHAPE), make_gguf(50_000)
DIGEST, EYES_DIGEST = (hashlib.sha256(content).hexdigest() for content in (CONTENT, EYES))


def path_of(name: str, revision: str = REVISION) -> str:
    return f"{REPOSITORY}/resolve/{revision}/{name}"


MODEL = CatalogueModel(
    name="tiny",
    aliases=(),
    summary="Tiny",
    licence="MIT",
    file_name="tiny.gguf",
    size_bytes=len(CONTENT),
    sha256=DIGEST,
    token_bytes=TOKEN_BYTES,
    hub=HubFile(REPOSITORY, REVISION, "tiny.gguf"),
)
SEEING = replace(
    MODEL, projector=Projector("tiny-mmproj.gguf", EYES_DIGEST, HubFile(REPOSITORY, REVISION, "mmproj.gguf"))
)


@pytest.fixture
def stub() -> Iterator[HubStub]:
    files = {
        path_of("tiny.gguf"): CONTENT,
        path_of("mmproj.gguf"): EYES,
        path_of("tiny.gguf", "main"): CONTENT,
    }
    with running_hub(HubStub(files=files)) as running:
        yield running


def test_a_file_comes_through_redirects_and_is_asked_for_at_its_revision(
    stub: HubStub, tmp_path: Path
) -> None:
    stub.redirects = MOST_REDIRECTS

    assert pull(MODEL, tmp_path, hub=Hub(stub.url)).read_bytes() == CONTENT
    assert {path for path, _, _ in stub.requests} == {path_of("tiny.gguf")}


def test_redirects_without_end_are_given_up(stub: HubStub, tmp_path: Path) -> None:
    stub.redirects = MOST_REDIRECTS + 1

    with pytest.raises(PullError, match="redirected more than 5 times"):
        pull(MODEL, tmp_path, hub=Hub(stub.url))
    assert len(stub.requests) == MOST_REDIRECTS + 1


def test_a_redirect_to_a_file_of_this_machine_is_not_followed(stub: HubStub, tmp_path: Path) -> None:
    stub.redirects, stub.redirect_to = 1, "file:///etc/hostname"

    with pytest.raises(PullError, match=r"to no http\(s\) URL"):
        pull(MODEL, tmp_path, hub=Hub(stub.url))


def test_the_token_goes_to_the_hub_and_to_no_host_it_redirects_to(stub: HubStub, tmp_path: Path) -> None:
    with running_hub(HubStub(files=stub.files)) as other:
        stub.redirects, stub.redirect_to = 1, f"{other.url}/{path_of('tiny.gguf')}"
        pull(MODEL, tmp_path, hub=Hub(stub.url, "hub-token"))

    assert [token for _, _, token in stub.requests] == ["Bearer hub-token"]
    assert [token for _, _, token in other.requests] == [""]


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "accept its terms at .*/owner/tiny-GGUF, make a token there, and set MAVERA_MODEL_HUB_TOKEN"),
        (403, "it is gated"),
        (404, "it has no tiny.gguf in owner/tiny-GGUF at 0123456789abcdef; check the spelling"),
        (429, "too many requests; pull again in 17 s"),
        (503, "answered 503; pull again later"),
    ],
)
def test_a_refusal_says_what_to_do(stub: HubStub, tmp_path: Path, status: int, advice: str) -> None:
    stub.statuses[path_of("tiny.gguf")] = status
    stub.headers["Retry-After"] = "17"

    with pytest.raises(PullError, match=advice) as refused:
        pull(MODEL, tmp_path, hub=Hub(stub.url))
    assert "\n" not in str(refused.value)


def test_a_token_that_may_not_read_the_file_is_said_to_be_at_fault(stub: HubStub, tmp_path: Path) -> None:
    stub.statuses[path_of("tiny.gguf")] = 403

    with pytest.raises(PullError, match="the token in MAVERA_MODEL_HUB_TOKEN may not read it") as refused:
        pull(MODEL, tmp_path, hub=Hub(stub.url, "hub-token"))
    assert "hub-token" not in str(refused.value)


def test_a_hub_that_does_not_answer_is_said_to_be_out_of_reach(tmp_path: Path) -> None:
    with pytest.raises(PullError, match=r"could not be reached .*set MAVERA_MODEL_HUB to a mirror"):
        pull(MODEL, tmp_path, hub=Hub("http://127.0.0.1:9"))
    with pytest.raises(PullError, match=r"MAVERA_MODEL_HUB has to be an http\(s\) URL"):
        pull(MODEL, tmp_path, hub=Hub("file:///srv/models"))


def test_other_bytes_of_the_right_length_are_deleted(stub: HubStub, tmp_path: Path) -> None:
    stub.files[path_of("tiny.gguf")] = bytes(len(CONTENT))

    with pytest.raises(PullError, match="not the published ones, and were deleted"):
        pull(MODEL, tmp_path, hub=Hub(stub.url))
    assert not list(tmp_path.glob("tiny.gguf*[!k]"))


def test_a_file_of_another_length_is_not_fetched(stub: HubStub, tmp_path: Path) -> None:
    stub.files[path_of("tiny.gguf")] = CONTENT + b"more"

    with pytest.raises(PullError, match="answered with another file"):
        pull(MODEL, tmp_path, hub=Hub(stub.url))
    assert (tmp_path / "tiny.gguf.partial").stat().st_size == 0


def test_a_hub_that_sends_a_trickle_is_given_up(stub: HubStub, tmp_path: Path) -> None:
    stub.bytes_per_second = 200

    with pytest.raises(PullError, match=r"only \d+ bytes in 1 s"):
        pull(MODEL, tmp_path, hub=Hub(stub.url, stall_seconds=0.6))


def test_a_projector_comes_along_and_is_found_by_the_server(stub: HubStub, tmp_path: Path) -> None:
    keep_description(SEEING, tmp_path)
    settings = Settings(models_dir=tmp_path, model="tiny")
    assert resolve_projector(settings) is None
    assert not choose_model(settings).profile.sees_images

    pull(SEEING, tmp_path, hub=Hub(stub.url))

    assert is_here(SEEING, tmp_path)
    found = resolve_projector(settings)
    assert found is not None
    assert found.read_bytes() == EYES
    assert choose_model(settings).profile.sees_images


def test_half_a_description_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf.json").write_bytes(b'{"name": "tin')

    assert list_pulled(tmp_path) == ()


def test_the_memory_of_a_projector_is_known_before_anything_is_fetched(stub: HubStub, tmp_path: Path) -> None:
    sized = ask_projector_size(SEEING, Hub(stub.url))

    assert sized.projector is not None
    assert sized.projector.size_bytes == len(EYES)
    settings = Settings(embedded_slots=2, embedded_context_tokens=1000)
    assert compute_needed_bytes(sized, settings) == len(CONTENT) + len(EYES) + 2000 * TOKEN_BYTES + GB // 2
    assert not list(tmp_path.iterdir())


def test_a_pull_whose_projector_is_missing_on_the_hub_keeps_the_model(stub: HubStub, tmp_path: Path) -> None:
    sized = ask_projector_size(SEEING, Hub(stub.url))
    del stub.files[path_of("mmproj.gguf")]

    with pytest.raises(PullError, match=r"it has no mmproj\.gguf"):
        pull(sized, tmp_path, hub=Hub(stub.url))
    stub.files[path_of("mmproj.gguf")] = EYES
    stub.requests.clear()
    pull(SEEING, tmp_path, hub=Hub(stub.url))
    assert {path for path, _, _ in stub.requests} == {path_of("mmproj.gguf")}


def test_the_files_of_a_model_are_removed(stub: HubStub, tmp_path: Path) -> None:
    pull(SEEING, tmp_path, hub=Hub(stub.url))
    (tmp_path / "tiny.gguf.partial").write_bytes(b"half")

    assert remove(SEEING, tmp_path) > len(CONTENT) + len(EYES)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.gguf.lock"]
    assert remove(SEEING, tmp_path) == 0


def test_any_file_of_the_hub_can_be_pulled_by_its_digest(stub: HubStub, tmp_path: Path) -> None:
    address = f"hf:{REPOSITORY}/tiny.gguf@{REVISION}#{DIGEST.upper()}"

    model = describe_address(address, Hub(stub.url), tmp_path)
    keep_description(model, tmp_path)
    path = pull(model, tmp_path, hub=Hub(stub.url))

    assert describe_address(address, Hub("http://127.0.0.1:9"), tmp_path) == model
    assert path.read_bytes() == CONTENT
    assert (model.name, model.licence, model.token_bytes) == ("tiny", "apache-2.0", TOKEN_BYTES)
    assert find_known("tiny", tmp_path) == model
    assert resolve_model(Settings(models_dir=tmp_path, model="tiny")) == path
    remove(model, tmp_path)
    assert list_pulled(tmp_path) == ()


def test_without_a_revision_the_main_branch_is_asked(stub: HubStub, tmp_path: Path) -> None:
    describe_address(f"hf:{REPOSITORY}/tiny.gguf#{DIGEST}", Hub(stub.url), tmp_path)

    assert stub.requests[0][:2] == (path_of("tiny.gguf", "main"), "bytes=0-262143")


def test_a_digest_of_the_catalogue_is_that_model(stub: HubStub, tmp_path: Path) -> None:
    known = LARGER_MODELS[0]

    assert describe_address(f"hf:anyone/anything/copy.gguf#{known.sha256}", Hub(stub.url), tmp_path) == known
    assert stub.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "hf:owner/tiny-GGUF/tiny.gguf",
        f"hf:owner/tiny.gguf#{DIGEST}",
        f"hf:owner/tiny-GGUF/tiny.safetensors#{DIGEST}",
        f"hf:owner/tiny-GGUF/../../tiny.gguf#{DIGEST}",
        f"hf:owner/tiny-GGUF/tiny.gguf@../main#{DIGEST}",
        f"hf:owner/tiny-GGUF/tiny.gguf#{DIGEST[:-1]}",
        f"hf:owner/tiny-GGUF/tiny.gguf#{DIGEST}\n",
    ],
)
def test_an_address_that_is_not_whole_is_shown_its_form(stub: HubStub, tmp_path: Path, address: str) -> None:
    with pytest.raises(PullError, match=r"is not hf:OWNER/REPO/FILE\.gguf\[@REVISION\]#SHA256"):
        describe_address(address, Hub(stub.url), tmp_path)
    assert stub.requests == []


def test_a_file_that_is_no_model_is_not_fetched(stub: HubStub, tmp_path: Path) -> None:
    stub.files[path_of("tiny.gguf", "main")] = b"<html>" + bytes(100_000)

    with pytest.raises(PullError, match=r"tiny\.gguf of owner/tiny-GGUF is not a GGUF file"):
        describe_address(f"hf:{REPOSITORY}/tiny.gguf#{DIGEST}", Hub(stub.url), tmp_path)


def test_the_shape_of_a_model_is_read_from_its_first_bytes(tmp_path: Path) -> None:
    assert read_shape(CONTENT).token_bytes == TOKEN_BYTES
    assert read_shape(CONTENT).architecture == "tiny"
    path = tmp_path / "own.gguf"
    path.write_bytes(CONTENT)
    settings = Settings(embedded_slots=1, embedded_context_tokens=1000)
    assert estimate_needed_bytes(path, settings) == len(CONTENT) + 1000 * TOKEN_BYTES + GB // 2


@pytest.mark.parametrize("size", [*range(4, 200, 3), 1000])
def test_half_a_header_is_read_as_far_as_it_goes(size: int) -> None:
    assert read_shape(CONTENT[:size]).token_bytes in (0, TOKEN_BYTES)


def test_a_header_with_made_up_lengths_ends_where_the_bytes_end() -> None:
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63)
    endless = head + text("a") + struct.pack("<IIQ", 9, 4, 2**62) + bytes(1000)

    assert read_shape(endless).token_bytes == 0
    assert read_shape(head + struct.pack("<Q", 2**63)).token_bytes == 0
    with pytest.raises(NotGguf):
        read_shape(b"GGU")


@pytest.mark.parametrize("model", LARGER_MODELS, ids=lambda model: model.name)
def test_a_larger_model_is_pinned_and_said_not_to_be_tried(model: CatalogueModel) -> None:
    files = [(model.hub, model.sha256)]
    if model.projector:
        files.append((model.projector.hub, model.projector.sha256))
    for file, digest in files:
        assert file is not None
        assert len(file.revision) == 40
        assert len(digest) == 64
    assert not model.is_tried
    assert model.licence == "Apache-2.0"
    assert model.size_bytes > 2 * GB


def test_names_and_files_of_the_catalogue_are_different() -> None:
    names = [name for model in CATALOGUE for name in (model.name, *model.aliases)]
    files = [model.file_name for model in CATALOGUE]
    files += [model.projector.file_name for model in CATALOGUE if model.projector]

    assert len(set(names)) == len(names)
    assert len(set(files)) == len(files)


def test_a_model_that_cannot_fit_is_refused_with_one_that_does() -> None:
    with pytest.raises(PullError, match=r"qwen3-4b needs about 4\.2 GB .* mavera models pull ministral-3-3b"):
        check_memory(find_known("qwen3-4b", Path()), Settings(), 4 * GB)
    with pytest.raises(PullError, match=r"No model of the list fits\."):
        check_memory(find_known("qwen3-4b", Path()), Settings(), GB // 2)
    check_memory(find_known("qwen3-4b", Path()), Settings(), 6 * GB)
    check_memory(find_known("qwen3-30b-a3b", Path()), Settings(), None)


def test_fewer_slots_fit_into_less_memory() -> None:
    model = find_known("qwen3-4b", Path())

    assert [count_fitting_slots(model, Settings(), memory * GB) for memory in (4, 5, 6, 8, 64)] == [
        0,
        1,
        2,
        4,
        4,
    ]


@pytest.mark.parametrize(
    ("memory", "suggested"),
    [(3 * GB, None), (None, None), (7 * GB, "qwen3-4b"), (20 * GB, "qwen3-4b"), (60 * GB, "qwen3-30b-a3b")],
)
def test_the_suggestion_fits_with_room_to_spare(memory: int | None, suggested: str | None) -> None:
    line = describe_suggestion(Settings(), memory)

    assert (line is None) == (suggested is None)
    if suggested is not None:
        assert line is not None
        assert line.startswith(f"{suggested} (")
        assert line.endswith(f"mavera models pull {suggested}, then mavera models use {suggested}")


@pytest.mark.parametrize("name", ["model", "model_path", "upstream_base_url"])
def test_who_has_chosen_a_model_gets_no_suggestion(name: str, tmp_path: Path) -> None:
    chosen = {
        "model": Settings(model="qwen3-4b"),
        "model_path": Settings(model_path=tmp_path),
        "upstream_base_url": Settings(upstream_base_url="http://127.0.0.1:11434/v1"),
    }

    assert describe_suggestion(chosen[name], 64 * GB) is None
