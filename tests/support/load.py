"""Clients that ask a service all the time, check each answer, and can be told to pause."""

import re
import threading
import time
from collections import Counter

import httpx2 as httpx

from mavera.personas.builtin import PersonaLibrary

PERSONAS = [persona.id for persona in PersonaLibrary.load().list()][:12]
CLIENTS = 8


class Load:
    """
    Clients of `url` with `key`, for as long as the block. Half of their requests are streamed.

    The upstream has to repeat the question, so an answer to another question is noted in `wrong`.
    """

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._key = key
        self._stopping = threading.Event()
        self._going = threading.Event()
        self._going.set()
        self._idle = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._ask_for_ever, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._going.set()
        for thread in self._threads:
            thread.join(90)

    @property
    def completed(self) -> int:
        return self.outcomes["completed"]

    def wait_for_answers(self, more: int) -> None:
        """Return when so many further answers were complete."""
        wanted = self.completed + more
        # The sessions of a server that was stopped may hold a row for a minute, one after another.
        deadline = time.monotonic() + 120
        while self.completed < wanted:
            assert time.monotonic() < deadline, self.outcomes
            time.sleep(0.05)

    def pause(self) -> None:
        """Let the clients begin no further request, and return when all of theirs have ended."""
        self._going.clear()
        for _ in self._threads:
            assert self._idle.acquire(timeout=60), "a request has no end"

    def go_on(self) -> None:
        self._going.set()

    def _ask_for_ever(self, number: int) -> None:
        asked = 0
        with httpx.Client(headers={"Authorization": f"Bearer {self._key}"}, timeout=20) as client:
            while not self._stopping.is_set():
                if not self._going.is_set():
                    self._idle.release()
                    self._going.wait()
                    continue
                asked += 1
                self._ask(client, f"c{number}n{asked}e?", asked)

    def _ask(self, client: httpx.Client, question: str, number: int) -> None:
        body = {"model": "mavera-1", "input": question, "persona_id": PERSONAS[number % len(PERSONAS)]}
        try:
            answer = client.post(self.url, json={**body, "stream": number % 2 == 0})
        except httpx.TransportError as error:
            self.outcomes[type(error).__name__] += 1
            time.sleep(0.05)
            return
        complete = answer.status_code == 200 and "response.failed" not in answer.text
        self.outcomes["completed" if complete else str(answer.status_code)] += 1
        if complete and question not in answer.text:
            self.wrong.append(f"{question} {answer.text[-300:]}")
        if others := set(re.findall(r"c\d+n\d+e\?", answer.text)) - {question}:
            self.wrong.append(f"{question} was told {others}")
        if answer.status_code != 200:
            time.sleep(0.2)
