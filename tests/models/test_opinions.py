"""The loss at the level word: one level is the word itself, and better pairs cost less."""

import numpy as np
import pytest
import torch

from qsit_ray.config.config import Levels
from qsit_ray.config.prompts import Prompts
from qsit_ray.data.encode import Encoder, collate
from qsit_ray.errors import InputError
from qsit_ray.levels import LEVELS
from qsit_ray.models.loss import row_losses, tensors
from qsit_ray.models.opinions import KEYS, Opinions, ranking_losses, soft_losses
from qsit_ray.prompts import LEVEL_STEM, SCORING_QUESTION, level_tokens

SOFT, RANKED = Levels(target="soft"), Levels(ranking_weight=0.5)


def scoring(word, shares, dataset="koniq"):
    return {"id": word, "level": word, "level_shares": shares, "dataset": dataset}


def one(word):
    return [float(level == word) for level in LEVELS]


ASKED = {"id": "q", "level": None, "dataset": "d2"}


@pytest.fixture
def batch(checkpoint, images):
    """Of rows: two scored images and a question."""
    encoder = Encoder(checkpoint.processor, images, 512)

    def made(*rows):
        encoded = [
            encoder.answer("a.png", "<image>\nWhat?", "noise in the left half")
            if row["level"] is None
            else encoder.answer("a.png", SCORING_QUESTION, f"{LEVEL_STEM} {row['level']}.")
            for row in rows
        ]
        whole = collate(encoded, 0)
        opinions = Opinions(checkpoint.processor.tokenizer).of(rows, whole["labels"])
        return tensors(whole | opinions)

    return made


def test_one_level_alone_is_the_hard_loss(checkpoint, batch):
    rows = [scoring("good", one("good")), ASKED, scoring("bad", one("bad"))]
    hard = row_losses(checkpoint.model, batch(*rows))
    soft = row_losses(checkpoint.model, batch(*rows), SOFT)
    assert soft[0].tolist() == pytest.approx(hard[0].tolist(), rel=1e-6)
    assert soft[1].tolist() == hard[1].tolist()


def test_own_words_are_found_behind_their_own_stem(checkpoint, images):
    own = Prompts(stem="Its look is", levels=("poor", "bad", "fair", "excellent", "good")).profile
    encoder = Encoder(checkpoint.processor, images, 512)
    encoded = encoder.answer("a.png", "How?\n<image>", "Its look is fair.")
    labels = collate([encoded], 0)["labels"]
    tokenizer = checkpoint.processor.tokenizer
    found = Opinions(tokenizer, own).of([scoring("fair", [0.1, 0.2, 0.4, 0.2, 0.1])], labels)
    assert found["level_ids"].tolist() == level_tokens(tokenizer, own)
    (place,) = found["level_from"]
    assert labels[0, place + 1] == level_tokens(tokenizer, own)[2]


def test_only_the_level_word_has_another_target(checkpoint, batch):
    shares = [0.0, 0.1, 0.2, 0.4, 0.3]
    rows = [scoring("good", shares), ASKED]
    hard, _ = row_losses(checkpoint.model, batch(*rows))
    soft, _ = row_losses(checkpoint.model, batch(*rows), SOFT)
    assert soft[1].item() == hard[1].item()
    # The mixture of the five words' losses at that place, each as a hard row of its own. What comes
    # after the word would differ, so only the word is compared.
    made = batch(*rows)
    at = int(made["level_from"][0])
    hidden = checkpoint.model.model(
        **{k: v for k, v in made.items() if k not in (*KEYS, "labels", "attention_mask")},
        use_cache=False,
    ).last_hidden_state
    logs = checkpoint.model.lm_head(hidden[0, at]).float().log_softmax(dim=-1)
    of_levels = logs[made["level_ids"]]
    difference = -(torch.tensor(shares) * of_levels).sum() + of_levels[LEVELS.index("good")]
    assert (soft[0] - hard[0]).item() == pytest.approx(difference.item(), abs=1e-4)


def test_the_soft_loss_is_least_at_the_shares_themselves():
    shares = torch.tensor([[0.05, 0.1, 0.2, 0.4, 0.25]])
    made = {"level_from": torch.tensor([3]), "level_shares": shares,
            "level_ids": torch.arange(5)}  # fmt: skip
    logits = torch.zeros(1, 5, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-9)

    def closure():
        optimiser.zero_grad()
        loss = soft_losses(logits, made).sum()
        loss.backward()
        return loss

    for _ in range(5):
        optimiser.step(closure)
    assert logits.softmax(-1)[0].tolist() == pytest.approx(shares[0].tolist(), abs=1e-3)
    entropy = float(-(shares * shares.log()).sum())
    assert float(soft_losses(logits, made).sum()) == pytest.approx(entropy, abs=1e-5)


def ranked(shares, logits, sets):
    made = {
        "level_from": torch.ones(len(sets), dtype=torch.long),
        "level_shares": torch.tensor(shares),
        "level_ids": torch.arange(5),
        "data_set": torch.tensor(sets),
    }
    return ranking_losses(torch.tensor(logits, requires_grad=True), made)


def test_pairs_of_one_data_set_are_ranked_and_no_others():
    low, high = [0.7, 0.3, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.3, 0.7]
    worse, better = [4.0, 2.0, 0.0, -2.0, -4.0], [-4.0, -2.0, 0.0, 2.0, 4.0]
    right = ranked([low, high], [worse, better], [1, 1])
    wrong = ranked([low, high], [better, worse], [1, 1])
    assert (right < 0.1).all()
    assert (wrong > 0.8).all()
    assert ranked([low, high], [better, worse], [1, 2]).tolist() == [0.0, 0.0]
    assert ranked([low], [worse], [1]).tolist() == [0.0]
    loss = ranked([low, high, low], [better, worse, worse], [1, 1, 1]).sum()
    loss.backward()
    assert torch.isfinite(loss)


def test_ranking_adds_its_weight_to_scoring_rows_alone(checkpoint, batch):
    rows = [scoring("good", one("good")), ASKED, scoring("bad", one("bad"))]
    made = batch(*rows)
    hard, counts = row_losses(checkpoint.model, made)
    with_pairs, same = row_losses(checkpoint.model, made, RANKED)
    more = (with_pairs - hard).tolist()
    assert more[1] == pytest.approx(0, abs=1e-4)
    assert more[0] == pytest.approx(more[2], abs=1e-4)
    assert 0 < more[0] <= 0.5
    assert counts.tolist() == same.tolist()


def test_a_batch_without_scoring_rows_is_as_ever(checkpoint, batch):
    made = batch(ASKED)
    assert row_losses(checkpoint.model, made, SOFT)[0].tolist() == (
        row_losses(checkpoint.model, made)[0].tolist()
    )


def test_a_row_without_opinions_is_named(checkpoint, batch):
    with pytest.raises(InputError, match="row good: no level_shares"):
        batch(scoring("good", None))


def test_opinions_survive_the_object_store(checkpoint, batch):
    from qsit_ray.models.batch import pack, unpack

    rows = [scoring("good", [0.1, 0.2, 0.3, 0.2, 0.2]), ASKED]
    arrays = {name: value.numpy() for name, value in batch(*rows).items()}
    again = unpack(pack(arrays))
    for key in KEYS:
        assert np.array_equal(again[key].numpy(), arrays[key])
