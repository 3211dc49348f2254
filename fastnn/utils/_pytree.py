"""Nested containers as lists of leaves under the names of ``torch.utils._pytree``.

Nodes are tuples, lists, dictionaries, named tuples, OrderedDict, defaultdict, deque and the classes that
:func:`register_pytree_node` adds. Everything else is a leaf, None too.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

PyTree = Any
Context = Any
FlattenFn = Callable[[Any], tuple[list[Any], Any]]
UnflattenFn = Callable[[Iterable[Any], Any], Any]


class NodeDef(NamedTuple):
    """How a class is taken apart and made again."""

    type: Any
    flatten_fn: FlattenFn
    unflatten_fn: UnflattenFn


class TreeSpec:
    """The structure of a tree: ``type`` and ``context`` of its root, and the structures of its children.

    Args:
        type: a class of :data:`SUPPORTED_NODES`; None for a leaf.
        context: what the class keeps beside its children, as the keys of a dict.
        children_specs: one for each child.

    >>> tree_structure({"a": [1, 2]})
    TreeSpec(dict, ['a'], [TreeSpec(list, None, [*, *])])
    """

    def __init__(self, type: Any, context: Any = None, children_specs: Iterable[TreeSpec] = ()) -> None:
        self.type, self.context = type, context
        self.children_specs: list[TreeSpec] = list(children_specs)
        self.num_children = len(self.children_specs)
        self.num_nodes: int = 1 + sum(child.num_nodes for child in self.children_specs)
        self.num_leaves: int = sum(child.num_leaves for child in self.children_specs) if type is not None else 1

    def is_leaf(self) -> bool:
        """Whether the tree is one leaf."""
        return self.type is None

    def children(self) -> list[TreeSpec]:
        """The structures of the children."""
        return list(self.children_specs)

    def child(self, index: int) -> TreeSpec:
        """The structure of one child."""
        return self.children_specs[index]

    def flatten_up_to(self, tree: Any) -> list[Any]:
        """The parts of another tree at the leaves of this structure.

        Raises: ValueError if the other tree does not have the structure.
        """
        if self.is_leaf():
            return [tree]
        kind = _get_node_type(tree)
        if kind is not self.type:
            raise ValueError(f"Type mismatch: expected {self.type!r}, but got {type(tree)!r}.")
        children, context = SUPPORTED_NODES[kind].flatten_fn(tree)
        is_mapping = kind in (dict, OrderedDict, defaultdict)
        if is_mapping:
            keys = self.context[1] if kind is defaultdict else self.context
            if set(keys) != set(tree):
                raise ValueError(f"Node keys mismatch: expected {list(keys)}, but got {list(tree)}.")
            children = [tree[key] for key in keys]
        elif len(children) != self.num_children:
            raise ValueError(f"Node arity mismatch: expected {self.num_children}, but got {len(children)}.")
        elif kind is not deque and context != self.context:
            raise ValueError(f"Node context mismatch for {kind!r}: expected {self.context!r}, but got {context!r}.")
        pairs = zip(self.children_specs, children, strict=True)
        return [part for spec, child in pairs for part in spec.flatten_up_to(child)]

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """The tree with these leaves.

        Raises: ValueError if their number differs from ``num_leaves``.
        """
        leaves = list(leaves)
        if len(leaves) != self.num_leaves:
            raise ValueError(
                f"treespec.unflatten(leaves): `leaves` has length {len(leaves)} but the spec refers to a pytree that "
                f"holds {self.num_leaves} items ({self})."
            )
        return self._built(iter(leaves))

    def _built(self, leaves: Iterator[Any]) -> Any:
        if self.is_leaf():
            return next(leaves)
        children = [child._built(leaves) for child in self.children_specs]
        return SUPPORTED_NODES[self.type].unflatten_fn(children, self.context)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TreeSpec):
            return NotImplemented
        return (self.type, self.context, self.children_specs) == (other.type, other.context, other.children_specs)

    def __hash__(self) -> int:
        return hash((self.type, self.num_leaves, self.num_nodes))

    def __repr__(self) -> str:
        if self.is_leaf():
            return "*"
        return f"TreeSpec({self.type.__name__}, {self.context}, {self.children_specs})"


PyTreeSpec = TreeSpec


def LeafSpec() -> TreeSpec:
    """The structure of a leaf.

    >>> LeafSpec()
    *
    """
    return TreeSpec(None)


def is_namedtuple_class(cls: Any) -> bool:
    """Whether it is a class that ``namedtuple`` made."""
    return isinstance(cls, type) and issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple)


def is_namedtuple_instance(obj: Any) -> bool:
    """Whether it is a named tuple."""
    return is_namedtuple_class(type(obj))


def is_namedtuple(obj: Any) -> bool:
    """Whether it is a named tuple or a class of them."""
    return is_namedtuple_class(obj if isinstance(obj, type) else type(obj))


def _values(keys: Callable[[Any], Any]) -> FlattenFn:
    return lambda node: (list(node.values()), keys(node))


# By class. `namedtuple` is the entry of all classes that it makes.
SUPPORTED_NODES: dict[Any, NodeDef] = {
    kind: NodeDef(kind, flatten, unflatten)
    for kind, flatten, unflatten in (
        (tuple, lambda node: (list(node), None), lambda values, context: tuple(values)),
        (list, lambda node: (list(node), None), lambda values, context: list(values)),
        (dict, _values(list), lambda values, keys: dict(zip(keys, values, strict=True))),
        (namedtuple, lambda node: (list(node), type(node)), lambda values, kind: kind(*values)),
        (OrderedDict, _values(list), lambda values, keys: OrderedDict(zip(keys, values, strict=True))),
        (
            defaultdict,
            _values(lambda node: [node.default_factory, list(node)]),
            lambda values, context: defaultdict(context[0], zip(context[1], values, strict=True)),
        ),
        (deque, lambda node: (list(node), node.maxlen), lambda values, size: deque(values, maxlen=size)),
    )
}
BUILTIN_TYPES = frozenset(SUPPORTED_NODES)


def register_pytree_node(cls: type, flatten_fn: FlattenFn, unflatten_fn: UnflattenFn, **options: Any) -> None:
    """Make a class a node.

    Args:
        cls: the class; subclasses are leaves.
        flatten_fn: takes an object, returns the list of its children and a context.
        unflatten_fn: takes children and the context, returns an object.
        options: PyTorch's, about writing structures to files; ignored.

    Raises: ValueError if the class is a node already.
    """
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    SUPPORTED_NODES[cls] = NodeDef(cls, flatten_fn, unflatten_fn)


def _register_pytree_node(
    cls: type,
    flatten_fn: FlattenFn,
    unflatten_fn: UnflattenFn,
    to_str_fn: Any = None,
    maybe_from_str_fn: Any = None,
    **options: Any,
) -> None:
    """The older name of :func:`register_pytree_node`."""
    register_pytree_node(cls, flatten_fn, unflatten_fn)


def _get_node_type(tree: Any) -> Any:
    return namedtuple if type(tree) not in SUPPORTED_NODES and is_namedtuple_instance(tree) else type(tree)


def tree_is_leaf(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether it is a leaf; ``is_leaf`` can make leaves of nodes.

    >>> tree_is_leaf(None), tree_is_leaf([])
    (True, False)
    """
    return (is_leaf is not None and is_leaf(tree)) or _get_node_type(tree) not in SUPPORTED_NODES


_is_leaf = tree_is_leaf


def _flatten(tree: Any, leaves: list[Any], is_leaf: Callable[[Any], bool] | None) -> TreeSpec:
    if tree_is_leaf(tree, is_leaf):
        leaves.append(tree)
        return LeafSpec()
    kind = _get_node_type(tree)
    children, context = SUPPORTED_NODES[kind].flatten_fn(tree)
    return TreeSpec(kind, context, [_flatten(child, leaves, is_leaf) for child in children])


def tree_flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], TreeSpec]:
    """The leaves of a tree from left to right, and its structure.

    >>> tree_flatten([1, (2, None)])
    ([1, 2, None], TreeSpec(list, None, [*, TreeSpec(tuple, None, [*, *])]))
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves, is_leaf)


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> Any:
    """The tree of a structure with these leaves.

    Raises: TypeError if ``treespec`` is not a TreeSpec; ValueError if the number of leaves is wrong.
    """
    if not isinstance(treespec, TreeSpec):
        raise TypeError(f"tree_unflatten(leaves, treespec): expected a TreeSpec, found {type(treespec).__name__}")
    return treespec.unflatten(leaves)


@dataclasses.dataclass(frozen=True)
class SequenceKey:
    """The place of a child in a tuple, a list or another sequence."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"

    def get(self, parent: Any) -> Any:
        """The child of a node."""
        return parent[self.idx]


@dataclasses.dataclass(frozen=True)
class MappingKey:
    """The place of a child in a dictionary."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"

    def get(self, parent: Any) -> Any:
        """The child of a node."""
        return parent[self.key]


@dataclasses.dataclass(frozen=True)
class GetAttrKey:
    """The place of a child in a named tuple."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"

    def get(self, parent: Any) -> Any:
        """The child of a node."""
        return getattr(parent, self.name)


def tree_flatten_with_path(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> tuple[list[tuple[tuple[Any, ...], Any]], TreeSpec]:
    """The leaves with their paths from the root, and the structure.

    >>> [(keystr(path), leaf) for path, leaf in tree_flatten_with_path({"a": [1, 2]})[0]]
    [("['a'][0]", 1), ("['a'][1]", 2)]
    """
    leaves: list[tuple[tuple[Any, ...], Any]] = []

    def walk(part: Any, path: tuple[Any, ...]) -> None:
        if tree_is_leaf(part, is_leaf):
            leaves.append((path, part))
            return
        children, _ = SUPPORTED_NODES[_get_node_type(part)].flatten_fn(part)
        keys: Iterable[Any]
        if isinstance(part, dict):
            keys = map(MappingKey, part)
        elif hasattr(part, "_fields"):
            keys = map(GetAttrKey, part._fields)
        else:
            keys = map(SequenceKey, range(len(children)))
        for key, child in zip(keys, children, strict=True):
            walk(child, (*path, key))

    walk(tree, ())
    return leaves, tree_structure(tree, is_leaf)


def tree_leaves_with_path(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> list[tuple[tuple[Any, ...], Any]]:
    """The leaves with their paths from the root."""
    return tree_flatten_with_path(tree, is_leaf)[0]


def tree_map_with_path(
    func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: Callable[[Any], bool] | None = None
) -> Any:
    """The tree of ``func(path, leaf, ...)``, with the leaves of further trees of the same structure."""
    pairs, spec = tree_flatten_with_path(tree, is_leaf)
    others = [spec.flatten_up_to(rest) for rest in rests]
    return tree_unflatten([func(path, leaf, *more) for (path, leaf), *more in zip(pairs, *others, strict=True)], spec)


def keystr(kp: Iterable[Any]) -> str:
    """The text of a path."""
    return "".join(map(str, kp))


def tree_iter(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> Iterator[Any]:
    """An iterator over the leaves."""
    return iter(tree_flatten(tree, is_leaf)[0])


def tree_leaves(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """The leaves of a tree.

    >>> tree_leaves({"a": 1, "b": [2, 3]})
    [1, 2, 3]
    """
    return tree_flatten(tree, is_leaf)[0]


def tree_structure(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> TreeSpec:
    """The structure of a tree."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(
    func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: Callable[[Any], bool] | None = None
) -> Any:
    """The tree with ``func(leaf, *leaves of the other trees)`` in place of each leaf.

    Raises: ValueError if one of ``rests`` does not have the structure of ``tree``.

    >>> tree_map(lambda a, b: a + b, [1, (2,)], [10, (20,)])
    [11, (22,)]
    """
    leaves, spec = tree_flatten(tree, is_leaf)
    return spec.unflatten(map(func, leaves, *[spec.flatten_up_to(rest) for rest in rests]))


def tree_map_(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """Call ``func`` on each leaf as :func:`tree_map` does, and return ``tree`` itself."""
    leaves, spec = tree_flatten(tree, is_leaf)
    deque(map(func, leaves, *[spec.flatten_up_to(rest) for rest in rests]), maxlen=0)
    return tree


def _predicate(type_or_types_or_pred: Any) -> Callable[[Any], bool]:
    if callable(type_or_types_or_pred) and not isinstance(type_or_types_or_pred, type):
        return type_or_types_or_pred
    return lambda leaf: isinstance(leaf, type_or_types_or_pred)


def tree_map_only(
    type_or_types_or_pred: Any,
    func: Callable[[Any], Any],
    tree: Any,
    is_leaf: Callable[[Any], bool] | None = None,
) -> Any:
    """:func:`tree_map` for the leaves of one or more classes, or those a function chooses; the others stay.

    >>> tree_map_only(int, lambda x: -x, [1, "a"])
    [-1, 'a']
    """
    chosen = _predicate(type_or_types_or_pred)
    return tree_map(lambda leaf: func(leaf) if chosen(leaf) else leaf, tree, is_leaf=is_leaf)


def tree_map_only_(
    type_or_types_or_pred: Any,
    func: Callable[[Any], Any],
    tree: Any,
    is_leaf: Callable[[Any], bool] | None = None,
) -> Any:
    """Call ``func`` on the leaves that :func:`tree_map_only` changes, and return ``tree`` itself."""
    chosen = _predicate(type_or_types_or_pred)
    return tree_map_(lambda leaf: func(leaf) if chosen(leaf) else leaf, tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether ``pred`` holds for all leaves."""
    return all(map(pred, tree_iter(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether ``pred`` holds for a leaf."""
    return any(map(pred, tree_iter(tree, is_leaf)))


def tree_all_only(kinds: Any, pred: Callable[[Any], bool], tree: Any, is_leaf: Any = None) -> bool:
    """Whether ``pred`` holds for all leaves of the classes ``kinds``."""
    return all(pred(leaf) for leaf in tree_iter(tree, is_leaf) if isinstance(leaf, kinds))


def tree_any_only(kinds: Any, pred: Callable[[Any], bool], tree: Any, is_leaf: Any = None) -> bool:
    """Whether ``pred`` holds for a leaf of the classes ``kinds``."""
    return any(pred(leaf) for leaf in tree_iter(tree, is_leaf) if isinstance(leaf, kinds))


def treespec_pprint(treespec: TreeSpec) -> str:
    """A text of the structure with ``*`` for each leaf.

    >>> treespec_pprint(tree_structure({"a": (1, 2)}))
    "{'a': (*, *)}"
    """
    return repr(treespec.unflatten([_Star()] * treespec.num_leaves))


class _Star:
    def __repr__(self) -> str:
        return "*"


def _broadcast_to_and_flatten(
    tree: Any, treespec: TreeSpec, is_leaf: Callable[[Any], bool] | None = None
) -> list[Any] | None:
    """The leaves of a prefix of the structure, each repeated once for every leaf below it; None if it is no prefix.

    >>> _broadcast_to_and_flatten([0, 1], tree_structure([5, (6, 7)]))
    [0, 1, 1]
    """
    if tree_is_leaf(tree, is_leaf):
        return [tree] * treespec.num_leaves
    kind = _get_node_type(tree)
    if kind is not treespec.type:
        return None
    children, context = SUPPORTED_NODES[kind].flatten_fn(tree)
    if len(children) != treespec.num_children or context != treespec.context:
        return None
    found: list[Any] = []
    for child, spec in zip(children, treespec.children_specs, strict=True):
        part = _broadcast_to_and_flatten(child, spec, is_leaf)
        if part is None:
            return None
        found += part
    return found
