"""The recipes that are built together: those of a directory, or one with all that it builds on."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fanlight.images.catalogues import BuiltImage
from fanlight.images.recipes import Recipe, read_recipe
from fanlight.images.yaml_reader import RecipeInvalid


def read_recipes(place: Path, built: Sequence[BuiltImage] = ()) -> Sequence[Recipe]:
    """Return the recipes of a directory, or the recipe of a file, each after the one it builds on.

    A base is a recipe beside the one that names it, a recipe elsewhere that is named by its file, or one of the images
    that are `built`. Of a file's recipe, the last is its own. Raises RecipeInvalid.
    """
    if place.is_file():
        asked = [read_recipe(place)]
        if place.suffix != ".yaml":
            raise RecipeInvalid(f"{place}: the name of a recipe ends in .yaml.")
    elif place.is_dir():
        asked = [read_recipe(path) for path in sorted(place.glob("*.yaml"))]
    else:
        raise RecipeInvalid(f"{place} does not exist. Name a recipe (.yaml), or a directory of recipes.")
    if not asked:
        raise RecipeInvalid(f"{place} has no recipes (*.yaml).")
    directory = place if place.is_dir() else place.parent
    order = _Order({recipe.store_ref: recipe for recipe in asked}, built)
    for recipe in asked:
        order.place(recipe, directory.resolve(), ())
    _refuse_namesakes(place, order.placed.values())
    return list(order.placed.values())


def base_of(recipe: Recipe, recipes: Sequence[Recipe], built: Sequence[BuiltImage] = ()) -> Recipe | BuiltImage | None:
    """Return what a recipe builds on: another recipe first, then a built image by its name; None for a suite."""
    beside = next((r for r in recipes if r.store_ref == recipe.base and recipe.suite is None), None)
    return beside or next((image for image in built if recipe.base in (image.name, image.store_ref)), None)


class _Order:
    """Recipes by store_ref: all that are `known`, and those `placed`, each after its base."""

    def __init__(self, known: dict[str, Recipe], built: Sequence[BuiltImage]) -> None:
        self._known, self._built = known, built
        self.placed: dict[str, Recipe] = {}

    def place(self, recipe: Recipe, directory: Path, path: tuple[str, ...]) -> None:
        if recipe.store_ref in path:
            raise RecipeInvalid(
                f"{recipe.store_ref}.yaml: base: {' builds on '.join((*path, recipe.store_ref))}: a circle."
            )
        if recipe.suite is None:
            base = self._read_base(recipe, directory)
            if base is not None:
                below = recipe.base_file.parent if recipe.base_file else directory
                self.place(base, below, (*path, recipe.store_ref))
            elif base_of(recipe, (), self._built) is None:
                images = ", ".join(sorted(image.name for image in self._built)) or "none"
                raise RecipeInvalid(
                    f"{recipe.store_ref}.yaml: base: there is no recipe {recipe.base}.yaml beside it "
                    f"({', '.join(sorted(self._known))}), and no built image of that name ({images})."
                )
        self.placed[recipe.store_ref] = recipe

    def _read_base(self, recipe: Recipe, directory: Path) -> Recipe | None:
        """Return the recipe of the base, None when none stands where it would. Raises RecipeInvalid."""
        if recipe.base_file is None and recipe.base in self._known:
            return self._known[recipe.base]
        file = recipe.base_file or directory / f"{recipe.base}.yaml"
        if recipe.base_file is None and not file.is_file():
            return None
        base = read_recipe(file)
        if (other := self._known.get(base.store_ref)) is not None and other != base:
            raise RecipeInvalid(
                f"{recipe.store_ref}.yaml: base: two recipes have the file name {file.name}, which is the image's name in "
                "the engine. Rename one."
            )
        return self._known.setdefault(base.store_ref, base)


def _refuse_namesakes(place: Path, recipes: Iterable[Recipe]) -> None:
    names: dict[str, str] = {}
    for recipe in recipes:
        if other := names.get(recipe.name):
            raise RecipeInvalid(f"{place}: {other}.yaml and {recipe.store_ref}.yaml have the same name {recipe.name}.")
        names[recipe.name] = recipe.store_ref
