"""A recipe is the whole experiment: read it, check it, run it."""

from litotes.recipe.load import RecipeError, load_recipe, make_recipe
from litotes.recipe.schema import Arm, Recipe

__all__ = ["Arm", "Recipe", "RecipeError", "load_recipe", "make_recipe"]
