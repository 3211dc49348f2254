"""Reports of training runs: one HTML page that needs nothing else, and its contents as arrays.

Nothing but NumPy and SciPy is needed, except matplotlib for :func:`plot_confusion_matrix` (extra ``plot``).
"""

from fastnn.report.measures import (
    CalibrationCurve,
    WorstErrors,
    calibration_curve,
    classification_report,
    confusion_matrix,
    regression_report,
    weight_images,
    worst_errors,
)
from fastnn.report.page import report_html, write_report
from fastnn.report.plots import plot_confusion_matrix

__all__ = [
    "CalibrationCurve",
    "WorstErrors",
    "calibration_curve",
    "classification_report",
    "confusion_matrix",
    "plot_confusion_matrix",
    "regression_report",
    "report_html",
    "weight_images",
    "worst_errors",
    "write_report",
]
