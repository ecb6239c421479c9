"""Tables that are narrower than the model."""

import torch

from undula.nn.token_table import TokenHead, TokenTable


def test_a_narrow_table_is_expanded_and_scores_go_back_through_its_width():
    table, head = TokenTable(7, 6, 3), TokenHead(7, 6, 3, tied=True)
    ids, x = torch.tensor([[1, 4]]), torch.randn(1, 2, 6)
    torch.testing.assert_close(table(ids), table.table.weight[ids] @ table.expand.weight.T)
    torch.testing.assert_close(head(x, table.table.weight), x @ head.reduce.weight.T @ table.table.weight.T)
    assert {name for name, _ in head.named_parameters()} == {"reduce.weight"}


def test_an_untied_head_has_a_table_of_its_own():
    head = TokenHead(7, 6, 3, tied=False)
    x = torch.randn(1, 2, 6)
    want = x @ head.reduce.weight.T @ head.own.weight.T
    torch.testing.assert_close(head(x, torch.full((7, 3), torch.nan)), want)


def test_equal_widths_need_no_projection():
    assert TokenTable(7, 6, 6).expand is None
    assert TokenHead(7, 6, 6, tied=True).reduce is None
