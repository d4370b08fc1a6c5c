"""The compiled product: twice as fast as the common libraries on some processors.

What a row of the result becomes does not depend on the other rows, bit by bit.
"""

from __future__ import annotations

from torch import Tensor

from seqgan_env import native

# Depth of the blocks of b: deep where few blocks are copied, shallow where many are.
_DEEP, _SHALLOW = (
    2048,
    512,
)
_CHUNK = 960  # rows between two visits of a block


def product(a: Tensor, b: Tensor, bias: Tensor | None = None, by_rows: bool = True) -> Tensor:
    """a (rows, depth) times b (depth, columns), plus bias (rows,).

    Args:
        a: contiguous, or the transpose of what is.
        b: contiguous.
        bias: of the rows.
        by_rows: whether the work is split by rows, of which there are many, or by columns.

    Raises:
        ValueError: the shapes do not fit together, or the memory is laid out otherwise.
    """
    (rows, depth), columns = a.shape, b.shape[1]
    if len(b) != depth or (bias is not None and bias.shape != (rows,)):
        shapes = [(*x.shape,) for x in (a, b, bias) if x is not None]
        raise ValueError(
            f"a, b and bias have shapes {shapes}; expected (rows, depth), (depth, columns), (rows,)"
        )
    out = native.empty(rows, columns)
    sizes = native.sizes()
    if by_rows:
        size, grain, most = rows, sizes.rows, _DEEP
    else:
        size, grain, most = columns, sizes.tile, _SHALLOW
    stored, row, step = a, depth, 1
    if not a.is_contiguous():  # it is stored transposed: rows lie beside each other
        stored, row, step = a.t(), 1, rows
    native.run(
        "product",
        size,
        grain,
        by_rows=by_rows,
        left=stored,
        left_row=row,
        left_step=step,
        right=b,
        bias=bias,
        out=out,
        rows=rows,
        columns=columns,
        depth=depth,
        chunk=_CHUNK,
        most=most,
    )
    return out
