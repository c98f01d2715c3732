"""The estimate of memory, by what it must follow; `test_real_run` holds it against what was measured."""

import pytest

from study.config.catalogue import BuiltSource, HubSource, Model
from study.config.grid import Grid
from study.config.stages import Stage1
from study.config.study import Study
from study.plan.memory import estimated_gb, study_gb

LLAMA_1B = Model(source=BuiltSource(built="llama"), blocks=16, parameters=1.236e9)
GRID = Grid(layers=[1], pairs=[{"multiply": "multiply", "add": "add"}], weights=[0.5])
STUDY = Study(name="example", models=["llama"], grid=GRID)


def test_weights_alone_are_a_lower_bound_and_three_times_them_enough_for_one_cell():
    weights = 4 * 1.236
    assert weights < study_gb(LLAMA_1B, STUDY, 1) < 3 * weights


def test_it_grows_with_cells_batches_ranks_and_parameters():
    larger = LLAMA_1B.model_copy(update={"parameters": 8e9, "blocks": 32})
    wide = STUDY.stage2.lora.model_copy(update={"rank": 64})
    base = estimated_gb(LLAMA_1B, STUDY.stage2.lora, 128)
    assert base < estimated_gb(LLAMA_1B, STUDY.stage2.lora, 256)
    assert base < estimated_gb(LLAMA_1B, wide, 128)
    assert base < estimated_gb(larger, STUDY.stage2.lora, 128)
    assert study_gb(LLAMA_1B, STUDY, 1) < study_gb(LLAMA_1B, STUDY, 8)


def test_stage_1_counts_where_its_batches_are_larger():
    assert study_gb(LLAMA_1B, STUDY, 1) == pytest.approx(
        estimated_gb(LLAMA_1B, STUDY.stage1.lora, 32 * STUDY.stage1.batch_size)
    )


@pytest.mark.parametrize(("weights", "share"), [("4bit", 0.4), ("8bit", 0.5)])
def test_quantised_weights_need_a_fraction_unless_stage_1_is_fused_into_them(weights, share):
    hub = Model(source=HubSource(hub="a/b"), blocks=28, parameters=3.2e9)
    held = hub.model_copy(update={"weights": weights})
    fused = STUDY.model_copy(update={"stage1": Stage1(fuse="always")})
    assert study_gb(held, STUDY, 1) < share * study_gb(hub, STUDY, 1)
    assert study_gb(held, fused, 1) == study_gb(hub, STUDY, 1)


def test_an_adapter_that_is_kept_counts():
    assert estimated_gb(LLAMA_1B, STUDY.stage2.lora, 128, kept=STUDY.stage1.lora) > estimated_gb(
        LLAMA_1B, STUDY.stage2.lora, 128
    )


def test_nothing_is_guessed_of_a_model_whose_parameters_are_not_told():
    assert study_gb(LLAMA_1B.model_copy(update={"parameters": None}), STUDY, 1) is None
