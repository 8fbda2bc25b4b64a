"""Aliases of the policy: promote, roll back, and what a person moves in the MLflow UI."""

import pytest

from tasks import promotion, registry, tracking
from tasks.registry import ModelRef


@pytest.fixture
def policies(state):
    """Four versions of policy, as the rounds registered them."""
    mlflow = tracking.client()
    mlflow.create_registered_model("policy")
    for number in range(1, 5):
        mlflow.create_model_version("policy", f"{state.as_uri()}/{number}")
    return mlflow


def champion():
    ref = promotion.champion()
    return ref and ref.version


def test_round_one_has_no_policy(state):
    assert promotion.champion() is None and registry.newest("policy") is None
    with pytest.raises(ValueError, match="there is no policy yet"):
        registry.resolve("policy")
    with pytest.raises(ValueError, match="no version or alias 'candidate'"):
        promotion.promote()
    with pytest.raises(ValueError, match="no previous champion"):
        promotion.rollback()


def test_the_candidate_is_sampled_promoted_or_not(policies):
    promotion.set_candidate(1)
    assert registry.newest("policy") == ModelRef("policy", 1)
    promotion.promote()
    promotion.set_candidate(2)
    assert champion() == 1 and registry.newest("policy") == ModelRef("policy", 2)


def test_promote_keeps_the_way_back(policies):
    for version in (1, 2, 3):
        promotion.promote(version)
    assert registry.aliases("policy") == {"champion": 3, "previous-champion": 2}
    assert promotion.rollback() == ModelRef("policy", 2)
    assert registry.aliases("policy") == {"champion": 2, "previous-champion": 1}
    assert promotion.rollback() == ModelRef("policy", 1)
    assert registry.aliases("policy") == {"champion": 1}
    with pytest.raises(ValueError, match="no previous champion"):
        promotion.rollback()
    promotion.promote(3)
    assert registry.aliases("policy") == {"champion": 3, "previous-champion": 1}


def test_promoting_the_champion_changes_nothing(policies):
    promotion.promote(1)
    promotion.promote(2)
    before = registry.history("policy")
    assert promotion.promote(2) == ModelRef("policy", 2)
    assert registry.history("policy") == before
    assert registry.aliases("policy")["previous-champion"] == 1


def test_an_unknown_version_is_one_sentence(policies):
    with pytest.raises(ValueError, match=r"policy has no version 9 \(versions: 1, 2, 3, 4\)"):
        promotion.promote(9)


def test_a_person_moves_the_champion_in_the_ui(policies):
    promotion.promote(1)
    promotion.set_candidate(3)
    policies.set_registered_model_alias("policy", "champion", "2")
    assert champion() == 2
    assert registry.newest("policy") == ModelRef("policy", 2)  # what the person said last
    promotion.reconcile()
    move = [m for m in registry.history("policy") if m.alias == "champion"][-1]
    assert (move.version, move.before, move.by) == (2, 1, "MLflow UI")


def test_reconcile_keeps_the_way_back_after_a_move_in_the_ui(policies):
    promotion.promote(1)
    policies.set_registered_model_alias("policy", "champion", "4")
    assert [move.version for move in promotion.reconcile()] == [4]
    assert promotion.reconcile() == []
    assert registry.aliases("policy") == {"champion": 4, "previous-champion": 1}
    assert promotion.rollback() == ModelRef("policy", 1)


def test_a_move_made_before_the_next_candidate_does_not_look_newer(policies):
    promotion.promote(1)
    policies.set_registered_model_alias("policy", "champion", "2")
    promotion.set_candidate(3)  # the round ended after the person's move
    assert registry.newest("policy") == ModelRef("policy", 3)


def test_a_deleted_champion_leaves_no_champion(policies):
    promotion.promote(1)
    promotion.promote(2)
    policies.delete_model_version("policy", "2")
    promotion.reconcile()
    assert promotion.champion() is None
    assert registry.history("policy")[-1].version is None


def test_every_move_is_kept_with_who_and_why(policies):
    promotion.promote(1, by="anna", why="better answers")
    move = registry.history("policy")[-1]
    assert (move.alias, move.version, move.before) == ("champion", 1, None)
    assert (move.by, move.why) == ("anna", "better answers")
    assert move.at.endswith("Z")


def test_a_deleted_previous_champion_stops_nothing(policies):
    for version in (1, 2):
        promotion.promote(version)
    policies.delete_model_version("policy", "1")
    promotion.reconcile()
    assert registry.aliases("policy") == {"champion": 2}
    with pytest.raises(ValueError, match="was deleted from MLflow"):
        promotion.rollback()
    promotion.promote(3)
    promotion.promote(4)
    assert promotion.rollback() == ModelRef("policy", 3)
    assert registry.aliases("policy") == {"champion": 3, "previous-champion": 2}
    assert promotion.rollback() == ModelRef("policy", 2)
    assert registry.aliases("policy") == {"champion": 2}
