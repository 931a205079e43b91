"""Files for repositories of the Hugging Face hub, and sending them: nothing twice, and a failure says what was sent."""

from __future__ import annotations

import contextlib
import difflib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.errors import HarnessError, HubError, UnknownName, UsageError
from harness.publish.every_eval_ever import Origin, Replies, every_eval_ever
from harness.publish.hub_texts import eval_results, model_index, score_badge
from harness.publish.results import NAME, Evaluator, Pick, publishable_board

FORMATS = ("eval-results", "model-index", "every-eval-ever", "badge")
_SHOWN_LINES = 200  # of each file, in a dry run
_AGAIN = "run the same command again: it sends only what is not there"


@dataclass(frozen=True)
class Upload:
    """What one repository gets. files: path in the repository -> text. title: of the pull request or commit."""

    repository: str
    files: Mapping[str, str]
    title: str
    kind: Literal["model", "dataset"] = "model"

    @property
    def who(self) -> str:
        return f"{self.kind} repository {self.repository!r}"


@dataclass(frozen=True)
class Outcome:
    """What became of an upload. url: of the pull request or commit; "" if nothing was sent. lines: for the terminal."""

    done: Literal["sent", "unchanged", "already proposed", "would be sent"]
    url: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """What is to be published of a board. targets: (model repository, what of the board).

    datastore: the dataset repository for Every Eval Ever; "": beside the model. created and replies are its too;
    replies hold those of all targets.
    """

    targets: tuple[tuple[str, Pick], ...]
    formats: tuple[str, ...] = ("eval-results",)
    source: str = ""
    date: str | None = None
    evaluator: Evaluator | None = None
    datastore: str = ""
    created: int = 0
    replies: Replies | None = None


def planned(
    facts: Mapping[str, Any], ask: Question, card: Callable[[str], str | None] = lambda _: None
) -> list[Upload]:
    """The files for each repository. card: gives the README.md of a model repository as it is now."""
    title = f"Evaluation results by {NAME}: {publishable_board(facts)['title']}"
    uploads: dict[tuple[Literal["model", "dataset"], str], dict[str, str]] = defaultdict(dict)
    for name in ask.formats:
        if name not in FORMATS:
            raise UnknownName("format", name, FORMATS)
    for repository, pick in ask.targets:
        if ("model", repository) in uploads:
            raise UsageError(f"two rows go to {repository!r}, and a repository holds one checkpoint")
        files = uploads["model", repository]
        if "eval-results" in ask.formats:
            files[f".eval_results/{NAME}.yaml"] = eval_results(facts, pick, source=ask.source, date=ask.date)
        if "model-index" in ask.formats:
            model = repository.split("/")[-1]
            files["README.md"] = model_index(facts, pick, model=model, card=card(repository) or "", source=ask.source)
        if "badge" in ask.formats:
            files[f"{NAME}-badge.json"] = score_badge(facts, pick)
        if "every-eval-ever" in ask.formats:
            if ask.evaluator is None:
                raise UsageError("Every Eval Ever needs the evaluator: name the organisation or person")
            made = every_eval_ever(
                facts,
                pick,
                model=repository,
                origin=Origin(ask.evaluator, ask.created, ask.source),
                replies=ask.replies,
            )
            (uploads["dataset", ask.datastore] if ask.datastore else files).update(made)
    return [Upload(name, files, title, kind) for (kind, name), files in uploads.items() if files]


def publish(
    uploads: Sequence[Upload],
    token: str | None,
    endpoint: str | None = None,
    *,
    pull_request: bool = True,
    dry_run: bool = False,
    timeout_s: float = 30.0,
) -> list[Outcome]:
    """Send these to the hub; what is there or proposed already is not sent again. Nothing is sent in a dry run.

    All repositories are looked at before the first is sent to. endpoint None: as huggingface_hub is set up.
    pull_request: propose it, which anyone may; else write to the main branch. Raises `UsageError` for what the asker
    can mend and `HubError` for the hub's failures; both say what was sent before.
    """
    hub = _Hub(token, endpoint, timeout_s, pull_request)
    with hub.impatient():
        if dry_run:
            return [_tried(hub, upload) for upload in uploads]
        if not token:
            raise UsageError(
                f"publishing to {', '.join(upload.who for upload in uploads)} needs a token, and there is none; "
                f"make one at {hub.tokens} and set HF_TOKEN, or use `hf auth login` (--dry-run needs none)"
            )
        seen = [(upload, hub.look(upload)) for upload in uploads]
        outcomes: list[Outcome] = []
        for upload, there in seen:
            try:
                outcomes.append(_nothing_to_do(upload, there) or hub.send(upload, there))
            except HarnessError as error:
                sent = ", ".join(outcome.url for outcome in outcomes if outcome.done == "sent")
                raise type(error)(f"{error}; sent before that: {sent or 'nothing'}") from None
        return outcomes


def read_file(repository: str, path: str, token: str | None, endpoint: str | None = None) -> str | None:
    """A text file of a model's repository as it is on the main branch, for `model_index`; None: there is none."""
    hub = _Hub(token, endpoint, 30.0, pull_request=False)
    with hub.impatient():
        return hub.look(Upload(repository, {path: ""}, "")).files[path]


@dataclass(frozen=True)
class _There:
    """A repository as it was found. files: path -> text, None: there is none. proposed: url of an open request."""

    commit: str | None
    files: Mapping[str, str | None]
    proposed: str = ""

    def changed(self, upload: Upload) -> dict[str, str]:
        return {path: text for path, text in upload.files.items() if self.files[path] != text}


def _nothing_to_do(upload: Upload, there: _There) -> Outcome | None:
    if not there.changed(upload):
        line = f"unchanged: {upload.who} has the same content already; nothing is sent"
        return Outcome("unchanged", "", (line,))
    if there.proposed:
        line = f"already proposed: {there.proposed} holds the same content for {upload.who}; nothing is sent"
        return Outcome("already proposed", there.proposed, (line,))
    return None


def _tried(hub: _Hub, upload: Upload) -> Outcome:
    """What would be sent, compared with what is there; if that cannot be read, it says so."""
    unseen = ""
    try:
        there = hub.look(upload)
    except HarnessError as error:
        unseen, there = str(error), _There(None, dict.fromkeys(upload.files))
    if not unseen and (found := _nothing_to_do(upload, there)):
        return found
    way = "a pull request" if hub.pull_request else "a commit to the main branch"
    lines = [f"would be sent to {upload.who} at {hub.endpoint} as {way}, {upload.title!r}:"]
    if unseen:
        lines.append(f"  what is there is not known: {unseen}")
    for path, text in there.changed(upload).items():
        compared = difflib.unified_diff((there.files[path] or "").splitlines(), text.splitlines(), lineterm="")
        shown = [f"    {line}" for line in compared][2:]
        lines += [f"  {path}, {len(text.encode()):,} bytes:", *shown[:_SHOWN_LINES]]
        if len(shown) > _SHOWN_LINES:
            lines.append(f"    … {len(shown) - _SHOWN_LINES:,} more lines")
    return Outcome("would be sent", "", tuple(lines))


class _Hub:
    """The hub at one address, with one token, that gives up after a while."""

    def __init__(self, token: str | None, endpoint: str | None, timeout_s: float, pull_request: bool) -> None:
        from huggingface_hub import HfApi, constants

        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self.tokens = f"{self.endpoint}/settings/tokens"
        self.pull_request = pull_request
        self._token = token or False  # None would be the token stored on this machine
        self._timeout_s = timeout_s
        self._api = HfApi(endpoint=self.endpoint, token=self._token)

    @contextlib.contextmanager
    def impatient(self) -> Iterator[None]:
        """The session of huggingface_hub, which would wait for ever, with a limit."""
        from huggingface_hub import get_session

        session = get_session()
        before = session.timeout
        session.timeout = self._timeout_s
        try:
            yield
        finally:
            session.timeout = before

    def look(self, upload: Upload) -> _There:
        """What is there of these files; if it differs, whether an open pull request of this title has them all."""
        with self._explained(upload):
            commit = self._api.repo_info(upload.repository, repo_type=upload.kind, timeout=self._timeout_s).sha
            there = _There(commit, {path: self._text(upload, path, "main") for path in upload.files})
            if self.pull_request and there.changed(upload):
                there = replace(there, proposed=self._proposed(upload))
            return there

    def _proposed(self, upload: Upload) -> str:
        found = self._api.get_repo_discussions(
            upload.repository,
            repo_type=upload.kind,
            discussion_type="pull_request",
            discussion_status="open",
            token=self._token,
        )
        for request in found:
            revision = f"refs/pr/{request.num}"
            if request.title == upload.title and all(
                self._text(upload, path, revision) == text for path, text in upload.files.items()
            ):
                return str(request.url)
        return ""

    def _text(self, upload: Upload, path: str, revision: str) -> str | None:
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

        url = hf_hub_url(upload.repository, path, repo_type=upload.kind, revision=revision, endpoint=self.endpoint)
        answer = get_session().get(url, headers=build_hf_headers(token=self._token))
        try:
            hf_raise_for_status(answer)
        except EntryNotFoundError:
            return None
        return answer.content.decode("utf-8", "replace")

    def send(self, upload: Upload, there: _There) -> Outcome:
        """One commit with what differs, on top of the commit that was read."""
        from huggingface_hub import CommitOperationAdd

        changed = there.changed(upload)
        with self._explained(upload):
            made = self._api.create_commit(
                upload.repository,
                [CommitOperationAdd(path, text.encode()) for path, text in changed.items()],
                repo_type=upload.kind,
                commit_message=upload.title,
                create_pr=self.pull_request,
                parent_commit=there.commit,
            )
        url = str((made.pr_url if self.pull_request else made.commit_url) or "")
        return Outcome("sent", url, (f"sent to {upload.who}: {url} ({', '.join(changed)})",))

    @contextlib.contextmanager
    def _explained(self, upload: Upload) -> Iterator[None]:
        """Failures in words that name who, what was given and what to do; never the token."""
        from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

        try:
            yield
        except OfflineModeIsEnabled:
            raise UsageError(
                f"{upload.who} cannot be reached: HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set; unset it, or use "
                "--dry-run"
            ) from None
        except HfHubHTTPError as error:
            raise self._refused(error, upload) from None
        except HTTPError as error:
            raise HubError(
                f"{self.endpoint} cannot be reached, or does not answer within {self._timeout_s:g} s "
                f"({self._plain(error)}); {_AGAIN}"
            ) from None
        except ValueError as error:  # a name or a card that huggingface_hub itself refuses
            raise UsageError(f"{upload.who}: {self._plain(error)}; nothing was changed there") from None

    def _refused(self, error: Any, upload: Upload) -> HarnessError:
        status = error.response.status_code
        way = "open a pull request there" if self.pull_request else "write to its main branch; open a pull request"
        changed = f"it changed while this was being sent; {_AGAIN}"
        advice = {
            401: "expected a token it accepts, for a repository that exists; check the name, and make a new token at "
            f"{self.tokens}",
            403: f"this token has no permission to {way}; expected one with write access (a fine-grained token needs "
            f"it for this repository): {self.tokens}",
            404: "expected a repository that exists and that this token may see; make it, or correct the name",
            409: changed,
            412: changed,
            429: f"too many requests; later, {_AGAIN}",
        }
        is_its_own = status in (409, 412, 429) or status >= 500
        said = advice.get(status, f"the hub failed; {_AGAIN}" if is_its_own else "nothing was changed there")
        detail = self._plain(error.server_message or "nothing more")
        kind = HubError if is_its_own else UsageError
        return kind(f"{self.endpoint} answered {status} for {upload.who}: {said}. The hub says: {detail}")

    def _plain(self, said: object) -> str:
        """One line without the token, should a server have sent it back."""
        text = f"{type(said).__name__}: {said}" if isinstance(said, Exception) else str(said)
        flat = " ".join(text.split())[:300]
        return flat.replace(str(self._token), "<token>") if self._token else flat
