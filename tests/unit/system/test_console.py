"""How stages start."""

import gc

import pytest

from sft_tradeoff.system.console import quick_start


def test_garbage_is_looked_for_again_after_the_start_and_what_is_there_stays():
    assert gc.isenabled()
    gc.unfreeze()
    try:
        with pytest.raises(ValueError, match="half-way"), quick_start():
            assert not gc.isenabled()
            raise ValueError("half-way")
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_who_looks_for_no_garbage_is_left_so():
    gc.disable()
    try:
        with quick_start():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
