"""The decorator that makes a plain function a stage. The only importer of Prefect below flows/.

@stage(output="corpus", retries=2, libraries=("pyarrow",))
def deduplicate(run: StageRun, corpus: Artifact, config: DeduplicateConfig, resources: Resources) -> None: ...

kept = deduplicate(corpus=cleaned, config=DeduplicateConfig(), resources=Resources())   # → Artifact
"""

from collections.abc import Callable
from typing import Any

from tasks.lineage.artifact import Artifact
from tasks.lineage.config import Resources, StageConfig, neutral
from tasks.lineage.execute import Context, execute
from tasks.lineage.recipe import Recipe, Use, flatten
from tasks.lineage.stage_run import StageRun

__all__ = ["Artifact", "Resources", "Stage", "StageConfig", "StageRun", "neutral", "stage"]


class Stage:
    """A declared stage. Calling it gives the artifact: found in the store, or made."""

    def __init__(self, recipe: Recipe, retries: int) -> None:
        self.recipe = recipe
        self.retries = retries
        self.__doc__ = recipe.function.__doc__
        self.__name__ = recipe.name
        self.__module__ = recipe.function.__module__
        self.__qualname__ = recipe.function.__qualname__

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def function(self) -> Callable[..., None]:
        return self.recipe.function

    @property
    def config_type(self) -> type[StageConfig]:
        return self.recipe.config_type

    @property
    def kind(self) -> str:
        return self.recipe.kind

    @property
    def libraries(self) -> tuple[str, ...]:
        return self.recipe.libraries

    def __call__(self, *args: Any, **kwargs: Any) -> Artifact:
        """Run, or find, the stage. Arguments: its artifacts, `config` (default: the default settings), `resources`."""
        use, arguments, resources = self._bind(*args, **kwargs)
        return execute(use, arguments, resources, Context()).artifact

    def key_for(self, *args: Any, **kwargs: Any) -> str:
        """The key that a call with these arguments would have."""
        return self._bind(*args, **kwargs)[0].key

    def _bind(self, *args: Any, **kwargs: Any) -> tuple[Use, dict[str, Any], Resources]:
        signature = self.recipe.signature
        defaults = {"config": self.config_type, "resources": Resources}
        for name, default in defaults.items():
            if name in signature.parameters and kwargs.get(name) is None and len(args) < len(signature.parameters):
                kwargs[name] = default()
        for name in defaults.keys() - signature.parameters.keys():
            kwargs.pop(name, None)
        arguments = dict(signature.bind(*args, **kwargs).arguments)
        config = arguments.pop("config", None) or StageConfig()
        resources = arguments.pop("resources", None) or Resources()
        return Use(self.recipe, flatten(arguments), config.resolved()), arguments, resources


def stage(
    *, output: str, retries: int = 0, libraries: tuple[str, ...] = (), always: bool = False
) -> Callable[[Callable[..., None]], Stage]:
    """Declare a stage.

    output: kind of artifact it makes. retries: for failures that may pass. libraries: distributions whose versions
    enter the key. always: reads the outside world, so it is never looked up.
    """

    def declare(function: Callable[..., None]) -> Stage:
        return Stage(Recipe(function, output, tuple(libraries), always), retries)

    return declare
