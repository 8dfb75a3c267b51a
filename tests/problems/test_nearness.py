"""Where in a text an answer is looked for: sentences, how near each is to the question, and how much that tells."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.problems.nearness import SCALE, Nearness, fit_sharpness, nearness, sentences

TEXT = (
    "Ann was born in the city of Rome. He is in the U.S. for years now! "
    "她住在北京的一个大房子里面，很多很多年。然后她搬到了上海的另一个大房子。"
)


def test_sentences_end_at_marks_of_any_script_and_short_ones_are_no_sentence() -> None:
    borders = sentences(TEXT)
    parts = [TEXT[a:b] for a, b in pairwise(borders.tolist())]
    assert [part[:5] for part in parts] == ["Ann w", "He is", "她住在北京", "然后她搬到"]


@given(st.text(st.sampled_from("ab .!?\n。é\U0001f600"), max_size=300))
def test_sentences_are_the_whole_text(text: str) -> None:
    borders = sentences(text)
    assert borders[0] == 0
    assert borders[-1] == len(text)
    assert (np.diff(borders) >= 0).all()


class Frozen:
    """Knows two words: each is a direction."""

    @property
    def frozen(self):
        return self

    def embed(self, texts):
        return np.array([[1.0 * ("Rome" in t), 1.0 * ("Paris" in t), 0.1] for t in texts], np.float32)


def test_the_sentence_with_the_word_of_the_question_is_nearest() -> None:
    text = "Something about Paris, a city. Something about Rome, a city. Something about nothing at all."
    (one,) = nearness(Frozen(), [("Rome?", text)])
    assert one.cosines.argmax() == 1
    assert one.cosines.max() == pytest.approx(SCALE)
    rome, paris = text.index("Rome"), text.index("Paris")
    pull = one.at(np.array([[-1, -1], [paris, paris + 5], [rome, rome + 4]]), 2.0)
    assert pull[0] == pull[2] == 0
    assert pull[1] == pytest.approx(2 * (one.cosines[0] - one.cosines[1]))
    assert (one.at(np.array([[paris, paris + 5]]), 0.0) == 0).all()


def near(*cosines: float) -> Nearness:
    return Nearness(np.arange(len(cosines) + 1) * 10, SCALE * np.array(cosines))


def test_sharpness_is_what_the_answers_say() -> None:
    always = [near(0.55, 0.5, 0.45)] * 40
    assert fit_sharpness(always, [[3]] * 40) > 2
    rng = np.random.default_rng(0)
    anywhere = [[int(10 * rng.integers(3))] for _ in range(40)]
    assert fit_sharpness([near(0.9, 0.5, 0.1)] * 40, anywhere) < 0.5
    assert fit_sharpness([], []) == fit_sharpness(always, [[]] * 40) == 1.0
    assert fit_sharpness([near(0.5)], [[999]]) == pytest.approx(1.0, abs=0.01)  # one sentence tells nothing
