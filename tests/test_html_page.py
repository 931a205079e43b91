"""The HTML page of a board: what stands in its text, and what a reader can do with it in a real browser."""

import base64
import json
import random
import re
import zlib
from dataclasses import asdict
from pathlib import Path

import browser
import pytest

from harness.board.facts import Note
from harness.board.html_page import STEPS, UNJUDGED, Answers, PageItem, render_page

ROOT = Path(__file__).parent.parent
ODD_NAME = "</script><script>alert(1)</script><img src=x onerror=alert(2)>|&'\"\u2028\ud800"
ODD_TEXT = "{{board}} </script><script>alert(3)</script> <b>bold</b> | & \u2028 \udfff </pre>"


def estimate(value, n=8):
    return {"value": value, "low": max(value - 0.1, 0.0), "high": min(value + 0.1, 1.0), "n": n, "method": "Wilson"}


def row(name, score, role="strategy", **more):
    counts = {"n": 8, "scored": 8, "truncated": 0, "errored": 0}
    scores = {"strict": estimate(score), "lenient": estimate(score), "in_form": estimate(1.0), "counts": counts}
    seeds = [1] if role == "strategy" else []
    run = {"id": name[:3], "seed": 1, "status": "done", "why": "", "strict": estimate(score), "cost": None}
    found = {"name": name, "role": role, "seeds": seeds, **scores, "runs": [run], "tokens_per_item": 20.0}
    return {**found, "tasks": {"sums": scores, "code": scores}, **more}


def board(*rows, **more):
    facts = {"tasks": {"sums": {"n_items": 5, "n_evaluated": 3}}, "versions": {"trl": "1.16.0"}}
    held = {"title": "Which training works", "rows": list(rows), "tasks": ["sums", "code"]}
    held |= {"n_items": {"sums": 5, "code": 3}, "facts": facts, "notes": [], "pairs": [], "reference": "base"}
    return {**held, **more}


def items():
    sums = [PageItem(f"sums/{i}", f"What is {i} + {i}?", str(2 * i)) for i in range(5)]
    return {"sums": sums, "code": [PageItem(str(i), f"Write number {i}.") for i in range(3)]}


def said(name, verdicts, n=5):
    return Answers(verdicts, [f"{name} says {i}" for i in range(n)])


# class by item of kd against base: sums right, gained, gained, lost, wrong; code right, not judged, gained
VERDICTS = {
    "kd": ((1, 1, 0.75, 0, 0.25), (1, None, 1)),
    "base": ((1, 0, 0, 1, 0), (1, 0, 0)),
    "sft": ((0,) * 5, (1,) * 3),
}


def answers(**more):
    found = {k: {"sums": said(k, of[0]), "code": said(k, of[1], 3)} for k, of in VERDICTS.items()}
    return {**found, **more}


def usual():
    kd = row("kd", 0.7, rank=[1, 2], among_best=True, difference=estimate(0.2) | {"p": 0.01})
    return board(kd, row("sft", 0.6, rank=[1, 2], difference=estimate(0.1)), row("base", 0.5, "base"))


def block(page, name):
    """What a block of the page holds."""
    packed = re.search(f'<script type="text/plain" id="{name}">([^<]*)</script>', page)[1]
    return zlib.decompress(base64.b64decode(packed))


def held(page):
    return json.loads(re.search(r'<script type="application/json" id="board">(.*?)</script>', page, re.DOTALL)[1])


# ---------------------------------------------------------------------------------------------- the text


def test_the_same_input_gives_the_same_page():
    assert render_page(usual(), items(), answers()) == render_page(usual(), items(), answers())


def test_the_page_points_to_nothing_outside_and_its_policy_allows_nothing():
    page = render_page(usual(), items(), answers(), {"Curves": "<svg xmlns='http://www.w3.org/2000/svg'></svg>"})
    assert not re.search(r"https?:|@import|url\(", page)
    assert {link[:5] for link in re.findall(r'(?:src|href)="([^"]*)', page)} == {"data:"}
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "connect-src" not in policy


def test_the_board_stands_in_the_page_as_it_was_given():
    facts = board(row(ODD_NAME, 0.5), notes=[asdict(Note("engine fallback", engine=ODD_TEXT))])
    page = render_page(facts, {}, {})
    assert held(page)["board"] == facts
    assert page.count("<script") == page.count("</script>") == 2


def test_names_titles_and_replies_cannot_become_markup():
    facts = board(row(ODD_NAME, 0.5), title=ODD_NAME)
    given = {ODD_NAME: {"sums": Answers([1.0], [ODD_TEXT])}}
    page = render_page(facts, {"sums": [PageItem(ODD_NAME, ODD_TEXT, ODD_TEXT)]}, given, {ODD_NAME: "<svg></svg>"})
    assert "alert(" not in page.replace("\\u003cscript>alert(1)", "").replace("&lt;script&gt;alert(1)", "").replace(
        "onerror=alert(2)", ""
    )
    assert "<img src=x" not in page
    assert page.count("<script") == page.count("</script>") == 5  # board, program, items, verdicts, replies
    page.encode()  # a lone surrogate would not go into a file
    assert json.loads(block(page, "replies-0-0")) == [ODD_TEXT]
    assert json.loads(block(page, "items-0")) == {"id": [ODD_NAME], "question": [ODD_TEXT], "target": [ODD_TEXT]}


def test_a_verdict_takes_one_byte_and_nearly_right_is_not_right():
    given = [0.0, 1.0, None, 1 / 3, 3 / 8, 0.9999, 0.0001]
    page = render_page(
        board(row("kd", 0.5)), {"sums": [PageItem(str(i)) for i in range(7)]}, {"kd": {"sums": Answers(given)}}
    )
    assert list(block(page, "verdicts-0")) == [0, STEPS, UNJUDGED, 80, 90, STEPS - 1, 1]
    assert held(page)["tasks"] == [{"name": "sums", "n": 7, "rows": [0], "texts": []}]


def test_rows_without_answers_are_left_out_of_the_verdicts_alone():
    page = render_page(usual(), items(), {"base": {"code": Answers([1, 0, 1])}})
    assert [task["rows"] for task in held(page)["tasks"]] == [[], [2]]
    assert block(page, "verdicts-0") == b""
    assert list(block(page, "verdicts-1")) == [STEPS, 0, STEPS]
    assert len(held(page)["board"]["rows"]) == 3


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("rl", {}, "answers of 'rl', which is not a row of the board; rows: base, kd, sft"),
        ("kd", {"chess": Answers([])}, "answers of 'kd' to 'chess', a task without items"),
        ("kd", {"code": Answers([1, 0])}, "answers of 'kd' to 'code': 2 verdicts and 0 texts for 3 items"),
        ("kd", {"code": Answers([1, 0, 1], ["x"])}, "answers of 'kd' to 'code': 3 verdicts and 1 texts for 3 items"),
        ("kd", {"code": Answers([1, 0, 2])}, "answers of 'kd' to 'code': a verdict is in [0, 1] or None, got 2"),
        ("kd", {"code": Answers([1, 0, float("nan")])}, "a verdict is in [0, 1] or None, got nan"),
    ],
)
def test_answers_that_do_not_fit_are_refused(name, given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        render_page(usual(), items(), {name: given})


def test_a_picture_that_is_no_svg_is_refused():
    with pytest.raises(ValueError, match=r"picture 'Curves' must start with '<svg', got '<html>'"):
        render_page(usual(), {}, {}, {"Curves": "<html>"})


def noise(n, seed):
    return random.Random(seed).randbytes(n // 2).hex()


def left_out(page):
    """(row, item) of the replies that are not in the page."""
    rows = [json.loads(block(page, f"replies-0-{r}")) for r in range(3)]
    return {(r, i) for r, texts in enumerate(rows) for i, text in enumerate(texts) if text is None}


def full_of_text():
    """Three rows and four items: agreement everywhere; kd differs; sft differs; kd and sft differ."""
    verdicts = {"kd": [1, 0, 1, 0], "sft": [1, 1, 0, 0], "base": [1, 1, 1, 1]}
    lengths = {"kd": [2000, 3000, 1000, 500], "sft": [400, 5000, 800, 600], "base": [300, 900, 700, 1200]}
    return {
        name: {"sums": Answers(of, [noise(n, f"{name}{i}") for i, n in enumerate(lengths[name])])}
        for name, of in verdicts.items()
    }


def test_nothing_is_left_out_where_all_replies_fit():
    page = render_page(usual(), {"sums": items()["sums"][:4]}, full_of_text())
    assert held(page)["left_out"] == {"n": 0, "of": 12, "bytes": 50_000_000}
    assert left_out(page) == set()


def test_replies_that_agree_with_the_reference_go_first_and_the_longest_of_them_before():
    agreeing = [(1, 1), (0, 0), (0, 2), (1, 0), (2, 0)]  # 5000, 2000, 1000, 400, 300 characters
    others = [(0, 1), (2, 3), (2, 1), (1, 2), (2, 2), (1, 3), (0, 3)]  # 3000, 1200, 900, 800, 700, 600, 500
    numbers = []
    for most_bytes in range(400, 14_000, 400):
        page = render_page(usual(), {"sums": items()["sums"][:4]}, full_of_text(), most_bytes=most_bytes)
        numbers.append(held(page)["left_out"]["n"])
        assert left_out(page) == set([*agreeing, *others][: numbers[-1]]), most_bytes
        assert sum(map(len, re.findall(r'id="replies-0-\d">([^<]*)<', page))) <= most_bytes
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) > 8


def test_a_page_without_room_for_replies_has_all_verdicts():
    page = render_page(usual(), {"sums": items()["sums"][:4]}, full_of_text(), most_bytes=0)
    assert held(page)["left_out"] == {"n": 12, "of": 12, "bytes": 0}
    assert len(block(page, "verdicts-0")) == 12


def test_boards_that_are_committed_have_a_page():
    for path in sorted((ROOT / "leaderboards").glob("*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts.get("kind") not in ("reported", "reproduced", "gpu"):  # which have no rows of ours to read
            assert held(render_page(facts, {}, {}))["board"] == facts


# ---------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def running():
    if why := browser.missing():
        pytest.skip(why)
    with browser.browser() as found:
        yield found


@pytest.fixture
def show(running, tmp_path):
    """Opens a page of these facts and answers; at the end nothing may have been fetched, nor anything gone wrong."""
    shown = []

    def opened(facts=None, given=None, fragment="", of=None, pictures=None, **settings):
        path = tmp_path / "board.html"
        text = render_page(facts or usual(), of or items(), answers() if given is None else given, pictures or {})
        path.write_text(text, encoding="utf-8")
        shown.append(browser.opened(running, path, fragment, **settings))
        return shown[-1].settled()

    yield opened
    for here in shown:
        assert here.faults == []
        assert {url.partition("#")[0] for url in here.asked if not url.startswith("data:")} == {
            (tmp_path / "board.html").as_uri()
        }
        here.page.close()


def names(here, table="#ranking"):
    return here.texts(f"{table} tbody th")


def sort_state(here):
    return {h.inner_text(): h.get_attribute("aria-sort") for h in here.page.locator("#ranking thead th").all()}


def chips(here):
    return dict(re.sub(r"^\W+", "", text).rsplit(" ", 1) for text in here.texts("#chips button"))


def listed(here):
    return here.texts("#list .id")


def test_caption_says_how_many_items_and_looks(show):
    (caption,) = show().texts("#caption")
    assert "n = 8 held-out items (sums 5, code 3)." in caption
    assert "Test-set evaluations so far: sums 3 checkpoints." in caption


def test_scores_stand_with_interval_in_the_order_of_the_board(show):
    here = show()
    assert names(here) == ["kd", "sft", "base"]
    cells = here.texts("#ranking tbody tr:first-child td")
    assert cells[:3] == ["1 to 2", "70.0 60.0 to 80.0", "+20.0 +10.0 to +30.0"]
    assert cells[-1] == "single run"
    assert here.page.locator("#ranking tr.best").count() == 1
    assert sort_state(here)["Strict %"] == "descending"


@pytest.mark.parametrize(("column", "first", "then"), [("Strategy", "base", "sft"), ("Strict %", "base", "kd")])
def test_a_column_sorts_by_keyboard_and_again_the_other_way(show, column, first, then):
    here = show()
    button = here.page.locator("#ranking thead button", has_text=column)
    button.focus()
    here.page.keyboard.press("Enter")
    assert names(here)[0] == first
    assert sort_state(here)[column] == "ascending"
    here.page.keyboard.press("Enter")
    assert names(here)[0] == then
    assert {name for name, state in sort_state(here).items() if state} == {column}


def test_a_row_without_a_value_comes_last_either_way(show):
    here = show()
    for _ in range(2):
        here.page.click("#ranking thead button:has-text('Rank')")
        assert names(here)[-1] == "base"


def test_rows_are_filtered_by_name_and_by_role(show):
    here = show()
    here.page.fill("#find-row", "SF")
    assert names(here) == ["sft"]
    assert here.texts("#n-rows") == ["1 of 3 rows shown"]
    here.page.fill("#find-row", "")
    here.page.uncheck("#show-ranked")
    assert names(here) == ["base"]
    here.page.check("#show-ranked")
    here.page.uncheck("#show-others")
    assert names(here) == ["kd", "sft"]


def test_columns_of_tasks_can_be_hidden(show):
    here = show()
    assert {"sums", "code"} <= set(here.texts("#ranking thead th"))
    here.page.uncheck("#show-tasks")
    assert not {"sums", "code"} & set(here.texts("#ranking thead th"))


def test_rows_that_collapsed_or_lack_verdicts_stand_apart_with_the_reason(show):
    collapsed = row("rl", 0.9)
    collapsed["runs"][0].update(status="collapsed", why="every reply the same")
    unjudged = row("kd+rl", 0.8)
    unjudged["counts"] = {"n": 8, "scored": 6, "truncated": 0, "errored": 2}
    here = show(board(collapsed, unjudged, *usual()["rows"]))
    assert names(here) == ["kd", "sft", "base"]
    assert names(here, "#apart-table") == ["rl", "kd+rl"]
    assert here.texts("#apart-table td.words") == [
        "collapsed: every reply the same (seed 1)",
        "2 of 8 replies could not be graded",
    ]
    assert here.page.locator("#apart-table thead button").count() == 0
    here.page.uncheck("#show-apart")
    assert names(here, "#apart-table") == []


def test_a_board_without_rows_that_failed_has_no_such_table(show):
    assert show().texts("#apart") == []


def test_verdicts_and_settings_tried_are_shown_where_a_row_has_them(show):
    better, unsure = (
        {"difference": {**estimate(0.1), "verdict": verdict, "found_from": 4.25}}
        for verdict in ("better", "not told apart")
    )
    better["lenient_difference"] = estimate(0.05)
    rows = [row("kd", 0.7, tried=[8, 4], **better), row("sft", 0.6, **unsure), row("base", 0.5, "base")]
    here = show(board(*rows), {})
    heads = here.texts("#ranking thead th")
    cells = dict(zip(heads[1:], here.texts("#ranking tbody tr:first-child td"), strict=True))
    assert cells["Settings tried"] == "8 + 4"
    assert cells["Δ lenient"].startswith("+5.0")
    assert cells["Verdict"].startswith("▲")
    assert "better than the reference" in cells["Verdict"]
    assert "detectable" not in cells["Verdict"]
    second = dict(zip(heads[1:], here.texts("#ranking tbody tr:nth-child(2) td"), strict=True))
    assert second["Verdict"].startswith("≈")
    assert second["Verdict"].endswith(("detectable: 4.3", "detectable: 4.2"))
    assert any("worse than the reference" in text for text in here.texts("#key li"))


def test_the_best_row_is_compared_with_the_reference_at_first(show):
    here = show()
    assert here.page.input_value("#row-a") == "0"
    assert here.page.input_value("#row-b") == "2"
    assert here.texts("#claim") == ["kd less base: +20.0 points (+10.0 to +30.0), all tasks, n = 8; Wilson; p = 0.010."]
    of_a_kind = {"gained": "3", "lost": "1", "both right": "2", "both wrong": "1", "not graded": "1"}
    assert chips(here) == {"all": "8", "flips": "4", **of_a_kind}


def test_a_claim_is_made_only_where_the_board_makes_it(show):
    pair = {"a": "kd", "b": "sft", **estimate(0.02), "low": -0.08, "p": 0.4, "p_holm": 1.0}
    here = show({**usual(), "pairs": [pair]}, fragment="#a=sft&b=kd")
    assert here.texts("#claim")[0].startswith(
        "sft less kd: −2.0 points (−12.0 to +8.0), all tasks, n = 8; Wilson; p = 0.4"
    )
    here = show(fragment="#a=sft&b=kd")
    assert "no interval for this pair" in here.texts("#claim")[0]


def test_flips_are_found_and_opened_side_by_side(show):
    here = show()
    here.page.click('[data-show="flips"]')
    here.settled()
    assert listed(here) == ["sums/1", "sums/2", "sums/3", "code/2"]
    here.page.click('[data-show="lost"]')
    here.settled()
    assert listed(here) == ["sums/3"]
    assert here.texts("#item h3") == ["sums/3"]
    assert here.texts("#item pre") == ["What is 3 + 3?", "6", "kd says 3", "base says 3"]
    assert here.texts("#item .replies h4") == ["kd ✗ wrong", "base ✓ right"]


def test_a_share_of_right_replies_is_said(show):
    here = show(fragment="#item=sums/2")
    assert here.texts("#item .replies h4") == ["kd ✓ right in 75 % of replies", "base ✗ wrong"]
    assert here.texts("#item .votes li") == []
    here.page.click("#item summary")
    assert here.texts("#item summary") == ["Every row: right in 1 of 3 rows"]
    assert here.texts("#item .votes li") == ["✓ right in 75 % of replies – kd", "✗ wrong – sft", "✗ wrong – base"]


def test_other_rows_and_tasks_can_be_chosen_and_swapped(show):
    here = show()
    here.page.select_option("#row-a", label="sft")
    here.page.select_option("#task", label="code (3)")
    here.wait("#list .id", "code/0", "code/1", "code/2")
    assert chips(here)["gained"] == "2"
    here.page.click("#swap")
    here.wait("[data-show=lost] b", "2")
    assert here.page.input_value("#row-b") == "1"
    assert here.texts("#item .replies h4 bdi") == ["base", "sft"]


def test_words_are_found_in_questions_and_replies(show):
    here = show()
    here.page.fill("#find-item", "BASE says 4")
    here.wait("#list .id", "sums/4")
    here.page.fill("#find-item", "write number")
    here.wait("#list .id", "code/0", "code/1", "code/2")
    here.page.fill("#find-item", "nowhere")
    here.wait("#item-title", "No item is like that.")
    assert here.texts("#n-items") == ["0 items"]


def test_keys_go_to_the_next_item_and_back(show):
    here = show()
    here.page.focus("#list li:first-child button")
    for key, place in [("ArrowDown", "sums/1"), ("j", "sums/2"), ("ArrowRight", "sums/3"), ("k", "sums/2")]:
        here.page.keyboard.press(key)
        here.wait("#item h3", place)
    assert "sums/2" in here.page.locator(":focus").inner_text()
    assert here.page.locator('#list [aria-current="true"]').count() == 1
    here.page.click("#item-on")
    here.wait("#item h3", "sums/3")


def test_an_address_leads_to_the_same_pair_and_item(show):
    here = show()
    here.page.select_option("#row-b", label="sft")
    here.page.click('[data-show="gained"]')
    here.settled()
    here.page.click("#list li:nth-child(2) button")
    here.wait("#item h3", "sums/1")
    address = here.page.url.partition("#")[2]
    again = show(fragment="#" + address)
    assert again.page.input_value("#row-b") == "1"
    assert again.texts("#item h3") == ["sums/1"]
    assert again.texts('#chips [aria-pressed="true"]') == ["▲ gained 3"]


def test_an_address_that_names_nothing_here_is_as_none(show):
    here = show(fragment="#a=nobody&b=%00&task=chess&show=__proto__&item=x")
    assert here.page.input_value("#row-a") == "0"
    assert here.texts('#chips [aria-pressed="true"]') == ["all 8"]


def test_a_cell_of_the_map_opens_its_item_even_where_the_filter_hid_it(show):
    here = show()
    here.page.click('[data-show="lost"]')
    here.settled()
    label = here.page.get_attribute("#map", "aria-label")
    assert label.startswith("Map of 8 items: ▲ gained 3, ▼ lost 1, ■ both right 2, · both wrong 1, □ not graded 1.")
    here.page.click("#map", position={"x": 5, "y": 5})  # most rows have it right
    here.wait("#item h3", "code/0")
    assert here.texts('#chips [aria-pressed="true"]') == ["all 8"]


def test_long_lists_are_paged_and_the_open_item_is_on_the_page_shown(show):
    many = {"sums": [PageItem(f"sums/{i}", "?") for i in range(120)]}
    given = {"kd": {"sums": Answers([1.0] * 120)}, "base": {"sums": Answers([0.0] * 120)}}
    here = show(given=given, of=many, fragment="#item=sums/60")
    assert here.texts("#n-items") == ["51 to 100 of 120 items"]
    here.page.click("#page-on")
    assert listed(here) == [f"sums/{i}" for i in range(100, 120)]
    assert here.page.is_disabled("#page-on")
    assert here.texts("#item .replies p") == ["No replies of this row were kept."] * 2


def test_replies_that_were_left_out_are_said_to_be(running, tmp_path):
    path = tmp_path / "board.html"
    path.write_text(render_page(usual(), items(), answers(), most_bytes=0), encoding="utf-8")
    here = browser.opened(running, path).settled()
    (said,) = here.texts("#left-out")
    assert said.startswith("24 of 24 replies are left out, so that replies take at most 0 MB here: first those")
    assert here.texts("#item .replies p") == ["Left out to keep this page small."] * 2
    assert here.faults == []


def test_a_board_without_answers_and_a_board_without_anything_open(show):
    assert "No answers to single items were kept" in show(given={}).texts("#items")[0]
    assert show({"title": "Nothing yet"}, {}, of={}).texts("h1") == ["Nothing yet"]


def test_rows_show_what_they_have(show):
    bare = [{"name": "kd"}, {"name": "rl", "role": "strategy", "runs": [{"cost": {"steps": 5}, "strict": None}]}]
    here = show({"rows": bare}, {}, of={})
    assert names(here) == ["kd", "rl"]
    here.page.click("#folds summary")
    here.wait("#folds tbody td", *["–"] * 3, "5", "– / –", "–", "– / –", "– / – / –", "–", "– / – / – / –", *["–"] * 5)


def test_hostile_names_and_replies_stay_text(show):
    facts = board(row(ODD_NAME, 0.6, runs=[{"status": "collapsed", "why": ODD_TEXT, "seed": None}]), *usual()["rows"])
    facts |= {
        "title": ODD_NAME,
        "notes": [asdict(Note("engine fallback", engine=ODD_TEXT))],
        "facts": {"versions": {ODD_NAME: ODD_TEXT}},
    }
    of = {"sums": [PageItem(ODD_NAME, ODD_TEXT, ODD_TEXT)]}
    given = {name: {"sums": Answers([1.0], [ODD_TEXT])} for name in (ODD_NAME, "kd", "base")}
    hostile = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(4)</script><rect onclick="alert(5)"/></svg>'
    here = show(facts, given, of=of, pictures={ODD_NAME: hostile})
    here.page.select_option("#row-a", index=0)
    here.settled()
    for summary in here.page.locator("summary").all():
        summary.click()
    here.page.wait_for_timeout(100)
    assert here.page.locator("img").count() == 1
    assert here.page.locator("svg, rect, :is(h1, th, td, dd, pre, blockquote, option) > b").count() == 0
    assert here.page.locator("script:not([type])").count() == 1
    shown = here.page.locator("#item pre").first.evaluate("node => node.textContent")
    assert shown == ODD_TEXT
    assert "</script><script>alert(1)</script>" in here.texts("h1")[0]


def test_pictures_have_their_title_as_name(show):
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><rect width="9" height="9"/></svg>'
    here = show(pictures={"Dev score": drawing})
    image = here.page.get_by_role("img", name="Dev score")
    assert image.evaluate("node => [node.naturalWidth, node.naturalHeight]") == [40, 30]
    assert here.texts("figcaption")[-1] == "Dev score"


def test_folded_facts_open(show):
    cost = dict.fromkeys(("train_s", "generate_s", "reward_s", "score_s", "teacher_s", "wall_s", "verifier_cpu_s"), 1.0)
    cost |= dict.fromkeys(("steps", "trained_tokens", "tokens", "generated_tokens", "teacher_tokens"), 12345)
    cost |= dict.fromkeys(("scored_tokens", "unique_prompts", "rollouts", "zero_advantage", "peak_device_bytes"), 0)
    cost |= {"flops_train": 2e12, "flops_generate": 0.0, "flops_teacher": 1e12, "peak_rss_bytes": 5e8}
    cost["without_teacher"] = {"flops": 2e12}
    kd = row("kd", 0.7, cost=cost)
    kd["runs"][0]["cost"] = cost
    here = show(board(kd, row("base", 0.5, "base")), {})
    assert "3.00e+12 teacher's 1.00e+12" in here.texts("#ranking tbody tr:first-child td")
    for summary in here.page.locator("#folds summary").all():
        summary.click()
    here.page.wait_for_selector("#folds dl")
    (told,) = here.texts("#folds")
    assert "12,345 / 12,345" in told
    assert "2.00e+12 / 0 / 1.00e+12" in told
    assert "sums: 5 items" in told


def test_the_page_is_light_or_dark_as_the_reader_asks(show, tmp_path):
    pictures = {}
    for scheme in ("light", "dark"):
        here = show(color_scheme=scheme)
        pictures[scheme] = here.page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
        paper = here.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}[scheme]
    assert pictures["light"] != pictures["dark"]


def luminance(colour):
    """Relative luminance (WCAG 2.2) of "#rrggbb"."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_signs_stand_out_from_the_paper(scheme):
    blocks = re.findall(r":root \{(.*?)\}", render_page(board(), {}, {}), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", blocks[scheme]))

    def contrast(one, other):
        light, dark = sorted((luminance(colours[one]), luminance(colours[other])), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    for paper in ("paper", "raised"):
        assert min(contrast(ink, paper) for ink in ("ink", "faint")) >= 4.5
        assert min(contrast(kind, paper) for kind in ("gained", "lost", "right", "wrong", "unjudged", "accent")) >= 3
    assert contrast("on-accent", "accent") >= 4.5


def test_a_narrow_screen_scrolls_tables_and_not_the_page(show):
    here = show(
        board(row("a-name-of-no-small-length" * 4, 0.5), *usual()["rows"]), viewport={"width": 360, "height": 640}
    )
    assert here.page.evaluate("document.documentElement.scrollWidth") == 360
    assert here.page.evaluate("document.querySelector('.scroll').scrollWidth") > 360


def test_the_page_of_a_real_board_shows_every_row(show):
    facts = json.loads((ROOT / "leaderboards" / "pico.json").read_text(encoding="utf-8"))
    here = show(facts, {}, of={})
    assert names(here) == [row["name"] for row in facts["rows"]]
    assert here.texts("#ranking tbody tr:nth-child(2) .number")[0] == f"{100 * facts['rows'][1]['strict']['value']:.1f}"
