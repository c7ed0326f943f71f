"""Edits of contacts: create, rename, archive, restore, merge."""

from typing_extensions import override

from simulator.books.editor import BooksEditor, Change, Edit, require
from simulator.books.model import Contact


class CreateContact(Edit, tag="create_contact"):
    """Create a contact, which is neither customer nor supplier until its first document."""

    name: str
    email: str = ""
    contact_id: str | None = None

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        row_id = (self.contact_id or editor.new_id()).lower()
        require(editor.organisation.contacts.get(row_id) is None, f"Contact {row_id} exists already.")
        return [editor.add("Contacts", Contact(id=row_id, updated_at=editor.now, name=self.name, email=self.email))]


class Rename(Edit, tag="rename"):
    """Rename a contact; its UpdatedDateUTC changes, but not that of its documents, which show the new name."""

    contact_id: str
    name: str

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        contact = editor.contact(self.contact_id)
        contact.name = self.name
        _clear_rendered_documents(editor, contact)
        return [editor.mark_updated("Contacts", contact)]


class Archive(Edit, tag="archive"):
    """Set a contact to ARCHIVED."""

    contact_id: str

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        contact = editor.contact(self.contact_id)
        contact.status = "ARCHIVED"
        return [editor.mark_updated("Contacts", contact)]


class Restore(Edit, tag="restore"):
    """Set an archived contact to ACTIVE."""

    contact_id: str

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        contact = editor.contact(self.contact_id)
        contact.status = "ACTIVE"
        return [editor.mark_updated("Contacts", contact)]


class Merge(Edit, tag="merge"):
    """Merge a contact into another: it is archived with MergedToContactID, and its documents move to the other."""

    contact_id: str
    into: str

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        source, target = editor.contact(self.contact_id), editor.contact(self.into)
        require(source is not target, "A contact cannot be merged into itself.")
        source.status, source.merged_to = "ARCHIVED", target.id
        target.is_customer |= source.is_customer
        target.is_supplier |= source.is_supplier
        return [
            editor.mark_updated("Contacts", source),
            editor.mark_updated("Contacts", target),
            *_move_documents(editor, source, target),
        ]


def _move_documents(editor: BooksEditor, source: Contact, target: Contact) -> list[Change]:
    changes = []
    _clear_rendered_documents(editor, source)
    for kind, document_id in source.documents:
        document = editor.organisation.document(kind, document_id)
        document.contact_id = target.id
        if editor.options.merge_moves_documents:
            changes.append(editor.mark_updated(kind, document))
    target.documents += source.documents
    source.documents = []
    return changes


def _clear_rendered_documents(editor: BooksEditor, contact: Contact) -> None:
    documents = [editor.organisation.document(kind, document_id) for kind, document_id in contact.documents]
    editor.clear_rendered(documents)
    for document in documents:
        for payment_id in document.payments:
            editor.organisation.payments.by_id[payment_id].rendered.clear()
