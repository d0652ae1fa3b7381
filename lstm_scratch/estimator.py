"""scikit-learn's protocol for parameters, so that its model selection takes our classifiers."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self


@dataclass(kw_only=True, eq=False)
class Estimator:
    """What every estimator can: list, change and show its parameters.

    A subclass is a dataclass too. Its fields are its parameters: the constructor stores them and
    does nothing else. What is learned later gets a name that ends in an underscore.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """List the parameters.

        Parameters
        ----------
        deep : bool, default True
            Without effect: no parameter is an estimator.

        Returns
        -------
        dict
            Values by name.
        """
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def set_params(self, **params: Any) -> Self:
        """Change parameters.

        Parameters
        ----------
        **params
            Values by name.

        Returns
        -------
        self
            The estimator.

        Raises
        ------
        ValueError
            If there is no parameter of that name.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}; it has: {', '.join(known)}"
                )
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        # Only scikit-learn asks for these, so it is there to be imported.
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False),
        )
