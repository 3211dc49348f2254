"""``torch.utils.model_zoo``: an older path to ``torch.hub``'s downloads, which raise."""

from fastnn.hub import load_state_dict_from_url as load_url

__all__ = ["load_url"]
