"""The machine itself as a contender: its matrix products in the precisions of `settings["dtypes"]`, once a round."""

from typing import Any

from sidebyside.worker import serve


def prepare(settings: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    from sidebyside.peak import gemm_peak

    for dtype in settings["dtypes"]:
        gemm_peak(dtype, seconds=0.2)
    return settings["dtypes"], {}


def turn(dtypes: list[str], number: int) -> dict[str, Any]:
    from sidebyside.peak import gemm_peak

    return {f"peak_{dtype}": gemm_peak(dtype) for dtype in dtypes}


if __name__ == "__main__":
    serve(prepare, turn)
