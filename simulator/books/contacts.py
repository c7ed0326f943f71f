"""Edits of contacts: create, rename, archive, merge."""

from typing_extensions import override

from simulator.books.editor import Change, Desk, Edit, require
from simulator.books.model import Contact


class CreateContact(Edit, tag="create_contact"):
    """A contact is neither customer nor supplier until its first document."""

    name: str
    email: str = ""
    contact_id: str | None = None

    @override
    def apply(self, desk: Desk) -> list[Change]:
        row_id = (self.contact_id or desk.new_id()).lower()
        require(desk.organisation.contacts.get(row_id) is None, f"Contact {row_id} exists already.")
        return [desk.add("Contacts", Contact(id=row_id, updated=desk.now, name=self.name, email=self.email))]


class Rename(Edit, tag="rename"):
    """The contact's stamp moves; its documents show the new name under their old stamps."""

    contact_id: str
    name: str

    @override
    def apply(self, desk: Desk) -> list[Change]:
        contact = desk.contact(self.contact_id)
        contact.name = self.name
        _forget_documents(desk, contact)
        return [desk.move("Contacts", contact)]


class Archive(Edit, tag="archive"):
    contact_id: str

    @override
    def apply(self, desk: Desk) -> list[Change]:
        contact = desk.contact(self.contact_id)
        contact.status = "ARCHIVED"
        return [desk.move("Contacts", contact)]


class Restore(Edit, tag="restore"):
    contact_id: str

    @override
    def apply(self, desk: Desk) -> list[Change]:
        contact = desk.contact(self.contact_id)
        contact.status = "ACTIVE"
        return [desk.move("Contacts", contact)]


class Merge(Edit, tag="merge"):
    """The loser is archived and points to the winner, who takes over its documents."""

    contact_id: str
    into: str

    @override
    def apply(self, desk: Desk) -> list[Change]:
        loser, winner = desk.contact(self.contact_id), desk.contact(self.into)
        require(loser is not winner, "A contact cannot be merged into itself.")
        loser.status, loser.merged_to = "ARCHIVED", winner.id
        winner.is_customer |= loser.is_customer
        winner.is_supplier |= loser.is_supplier
        return [desk.move("Contacts", loser), desk.move("Contacts", winner), *_hand_over(desk, loser, winner)]


def _hand_over(desk: Desk, loser: Contact, winner: Contact) -> list[Change]:
    changes = []
    _forget_documents(desk, loser)
    for kind, document_id in loser.documents:
        document = desk.organisation.document(kind, document_id)
        document.contact_id = winner.id
        if desk.options.merge_moves_documents:
            changes.append(desk.move(kind, document))
    winner.documents += loser.documents
    loser.documents = []
    return changes


def _forget_documents(desk: Desk, contact: Contact) -> None:
    documents = [desk.organisation.document(kind, document_id) for kind, document_id in contact.documents]
    desk.forget(documents)
    for document in documents:
        for payment_id in document.payments:
            desk.organisation.payments.rows[payment_id].rendered.clear()
