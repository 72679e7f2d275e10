"""WIT 0.2 text to a tree of packages, interfaces and worlds.

Promises: reads everything of WIT 0.2 but async, and refuses the rest with its place and what was expected.  Gates
(`@since`, `@unstable`, `@deprecated`) are read and ignored.  Knows nothing of other texts or of what a name stands for.
"""

from __future__ import annotations

from guesthouse.engine.wit_lexer import Name, Source
from guesthouse.engine.wit_tree import External, Function, Include, Interface, Package, Path, Use, World
from guesthouse.engine.wit_type_parser import DEFINITIONS, TypeParser


def parse(text: str, name: str = "<wit>") -> list[Package]:
    """The packages of a WIT text; raises `BadRequest` with file:line:column."""
    return _Parser(Source(text, name)).file()


class _Parser(TypeParser):
    # Packages

    def file(self) -> list[Package]:
        words, packages = self.words, []
        main: Package | None = None
        while words.word:
            self.gates()
            if words.word == "package":
                package = self.package()
                packages.append(package)
                if words.take("{"):
                    while not words.take("}"):
                        self.item(package)
                    continue
                if len(packages) > 1:
                    words.fail("`{`, because only the first package of a file can do without")
                words.expect(";")
                main = package
            elif main is None:
                words.fail("`package`")
            else:
                self.item(main)
        return packages

    def package(self) -> Package:
        words = self.words
        words.expect("package")
        namespace = words.name("a namespace")
        words.expect(":")
        name = words.name("a package")
        return Package(words.source, f"{namespace.text}:{name.text}", self.version())

    def version(self) -> str:
        return f"@{self.words.version()}" if self.words.take("@") else ""

    def item(self, package: Package) -> None:
        words = self.words
        self.gates()
        keyword, at = words.word, words.at
        made: Interface | World
        if keyword == "interface":
            words.advance()
            made = self.interface(words.name("an interface"))
        elif keyword == "world":
            words.advance()
            made = self.world()
        elif keyword == "use":
            self.alias(package)
            return
        else:
            words.fail("`interface`, `world` or `use`")
        if made.name.text in package.items or made.name.text in package.aliases:
            raise words.source.error(at, f"`{made.name.text}` is defined twice in `{package.name}`")
        package.items[made.name.text] = made

    def alias(self, package: Package) -> None:
        words = self.words
        words.expect("use")
        path = self.path()
        name = words.name("this interface here") if words.take("as") else Name(path.name, path.at)
        words.expect(";")
        if name.text in package.items or name.text in package.aliases:
            raise words.source.error(name.at, f"`{name.text}` is defined twice in `{package.name}`")
        package.aliases[name.text] = path

    def path(self) -> Path:
        words = self.words
        first = words.name("an interface or a namespace")
        if not words.take(":"):
            return Path("", first.text, "", first.at)
        package = words.name("a package")
        words.expect("/")
        name = words.name("an interface")
        return Path(f"{first.text}:{package.text}", name.text, self.version(), first.at)

    # Interfaces and worlds

    def interface(self, name: Name) -> Interface:
        words, made = self.words, Interface(name)
        words.expect("{")
        while not words.take("}"):
            self.gates()
            if not self.use_or_type(made):
                function = words.name("a function")
                words.expect(":")
                self.define(made, function)
                made.functions[function.text] = self.function(function.text, function.at)
                words.expect(";")
        return made

    def use_or_type(self, owner: Interface) -> bool:
        """Reads what may stand in an interface and in a world alike; false if something else stands here."""
        keyword = self.words.word
        if keyword == "use":
            owner.uses.append(self.use(owner))
        elif keyword == "resource":
            self.resource(owner)
        elif keyword in DEFINITIONS:
            made = DEFINITIONS[keyword](self)
            self.define(owner, made.name)
            owner.types[made.name.text] = made
        else:
            return False
        return True

    def use(self, owner: Interface) -> Use:
        words = self.words
        words.expect("use")
        path = self.path()
        words.expect(".")
        words.expect("{")

        def name() -> tuple[Name, Name]:
            used = words.name("a type")
            alias = words.name("this type here") if words.take("as") else used
            self.define(owner, alias)
            return used, alias

        names = self.until("}", name)
        words.expect(";")
        return Use(path, names)

    def world(self) -> World:
        words = self.words
        name = words.name("a world")
        made = World(name, Interface(name))
        words.expect("{")
        while not words.take("}"):
            self.gates()
            if words.word in ("import", "export"):
                (made.imports if words.advance() == "import" else made.exports).append(self.external(made))
            elif words.word == "include":
                made.includes.append(self.include())
            elif not self.use_or_type(made.scope):
                words.fail("`import`, `export`, `include`, `use`, a type or `}`")
        return made

    def external(self, world: World) -> External:
        words, at = self.words, self.words.at
        item: Path | Interface | Function
        if words.follows(1) == ":" and words.follows(2) in ("func", "interface", "async"):
            name = words.name("an import or export")
            words.expect(":")
            if words.take("interface"):
                return External(name.text, at, self.interface(name))
            item = self.function(name.text, name.at)
        else:
            item = self.path()
        words.expect(";")
        return External(item.name if isinstance(item, Function) else "", at, item)

    def include(self) -> Include:
        words = self.words
        words.expect("include")
        path = self.path()
        if not words.take("with"):
            words.expect(";")
            return Include(path, ())
        words.expect("{")

        def rename() -> tuple[Name, Name]:
            old = words.name("an import or export")
            words.expect("as")
            return old, words.name("it here")

        renames = self.until("}", rename)
        words.take(";")
        return Include(path, renames)
