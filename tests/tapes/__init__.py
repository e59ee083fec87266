import pytest

pytest.register_assert_rewrite("tests.tapes.tape")
