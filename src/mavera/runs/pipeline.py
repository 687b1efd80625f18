"""
List the stages of an answer in their order, and the condition for each.

    call tools       if server tools are offered: run their calls, and ask the model again with the results
    fit to context   if `truncation` is auto or the model counts tokens: drop old exchanges, or refuse
    plan             if the effort is high and the model does not reason on its own: make a hidden plan first
    hold calls       if decoding cannot enforce the schemas of strict functions: check the arguments
    hold to format   if JSON was asked for: check it before the answer ends
    analysis         if `analysis_mode` is on: note the text and the log-probabilities of the answer
    stop loops       if a small model speaks as a person: end the answer before it repeats itself a third time
    the model

A stage that has nothing to do for a prompt is left out, so it costs nothing. `stage.py` explains how a stage
works.
"""

from mavera.analysis.analyst import Analyst
from mavera.core.events import RunCompleted
from mavera.core.prompt import Prompt
from mavera.core.turn import Turn
from mavera.models.model import Model
from mavera.runs.analysing import AnalyseAnswer
from mavera.runs.reasoning import PlanFirst, needs_plan
from mavera.runs.schema_checker import SchemaChecker
from mavera.runs.server_tools import CallTools
from mavera.runs.stage import Events, Stage, join_stages
from mavera.runs.structured_output import HoldCalls, HoldToFormat, find_unenforced_tools
from mavera.runs.truncation import FitToContext


class Pipeline:
    """
    The way of one prompt to `model`. `turn` says whether the prompt may be shortened.

    `tools` are the offered server tools. `analyst` is None unless the answer has to be analysed. `caller` is
    a workspace's id.
    """

    def __init__(
        self,
        turn: Turn,
        prompt: Prompt,
        model: Model,
        checker: SchemaChecker,
        *,
        caller: str = "",
        tools: CallTools | None = None,
        analyst: Analyst | None = None,
    ) -> None:
        self._prompt = prompt
        self._analysis = AnalyseAnswer(model, analyst) if analyst is not None else None
        stages: list[Stage] = []
        if tools is not None:
            stages.append(tools)
        if turn.truncation == "auto" or model.profile.context is not None:
            drops = turn.truncation == "auto"
            stages.append(
                FitToContext(model.profile.context, drops, turn.max_output_tokens, turn.items_param)
            )
        if needs_plan(prompt, model):
            stages.append(PlanFirst(model))
        unenforced = find_unenforced_tools(prompt, model.profile)
        if unenforced:
            stages.append(HoldCalls(unenforced, checker, caller=caller))
        if prompt.format.type != "text":
            stages.append(HoldToFormat(prompt.format, model.profile, checker, caller=caller))
        if self._analysis is not None:
            stages.append(self._analysis)
        self._open = join_stages(stages, model)

    async def open(self) -> Events:
        """
        Return the events of the answer after `RunStarted`; the caller closes them.

        Raises APIError if the model does not take the prompt.
        """
        return await self._open(self._prompt)

    async def complete(self, event: RunCompleted) -> RunCompleted:
        """Return `event`, the end of the answer, with the analysis if one was asked for."""
        return event if self._analysis is None else await self._analysis.complete(event)
