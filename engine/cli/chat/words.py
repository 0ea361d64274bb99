"""What the terminal client says, in both languages."""

from collections.abc import Mapping
from typing import Any

_RUSSIAN = {
    "username": "Имя пользователя или e-mail: ",
    "password": "Пароль: ",
    "organization": "Организация (slug): ",
    "wrong": "Не подошло: {detail}",
    "new_password": "Пароль временный, его надо сменить. Новый пароль: ",
    "again": "Ещё раз: ",
    "differ": "Пароли не совпали.",
    "in_clear": "Внимание: {url} без TLS, пароль пойдёт по сети открытым.",
    "hello": "{name}, {organization}. /help — команды, /quit — выход.",
    "chats": "Чаты:",
    "no_chats": "Чатов пока нет.",
    "unread": " (новых: {count})",
    "pick": "Номер чата, или + чтобы создать: ",
    "no_such_chat": "Такого чата нет.",
    "title": "Название чата: ",
    "members": "Кого позвать (@имена через пробел, пусто — никого): ",
    "nobody": "Нет такого человека: {name}",
    "in_chat": "── {title} ── {members}",
    "draft": "черновик",
    "queued": "{role} в очереди",
    "working": "{role} думает …",
    "restarted": "{role} начинает ответ заново",
    "tool": "{role}: {what} …",
    "failed": "{role} не ответил: {detail} ({code}). /retry — ещё раз.",
    "cancelled": "{role} остановлен. /retry — ещё раз.",
    "limit": "{role}: достигнут предел ({limit}).",
    "sign": "№{no} — {draft}. /approve — подписать, /edit — исправить, /reject — отклонить.",
    "waits": "№{no} — {draft}, ждёт подписи: {approvers}.",
    "approved": "№{no} подписан: {by}",
    "edited": "№{no} исправлен и подписан: {by}",
    "rejected": "№{no} отклонён: {by}",
    "withdrawn": "(отклонённый черновик)",
    "deleted": "(удалено)",
    "changed": "№{no} изменено",
    "ignored": "Никого не зовёт: {names}. /who — кого можно позвать.",
    "nothing_to_sign": "Подписывать нечего.",
    "which": "Подписи ждут несколько: {numbers}. Назовите номер.",
    "nothing_to_stop": "Никто сейчас не отвечает.",
    "nothing_to_retry": "Повторять нечего.",
    "edit_text": "Новый текст, в конце строка с одной точкой:",
    "no_edit": "Без текста ничего не изменено.",
    "who_people": "Люди: {people}",
    "who_roles": "Роли: {roles}",
    "lost": "Связь с движком потеряна, переподключаюсь …",
    "found": "Связь восстановлена.",
    "resync": "Пропущено слишком много, чат загружен заново.",
    "gone": "Этого чата для вас больше нет.",
    "signed_out": "Сеанс окончен. Войдите снова.",
    "no": "Нет: {detail}",
    "bye": "До встречи.",
    "unknown": "Нет такой команды: {command}. /help — какие есть.",
    "asker": "спросивший",
    "admins": "администраторы",
    "everybody": "участники",
    "help": (
        "Строка без / отправляется в чат; @имя зовёт коллегу, @@роль — роль.\n"
        "/approve [№]          подписать черновик (номер — когда их несколько)\n"
        "/edit [№] [текст]     исправить и подписать\n"
        "/reject [№] [почему]  отклонить\n"
        "/stop                 остановить отвечающих\n"
        "/retry                повторить неудавшийся ответ\n"
        "/history [сколько]    прошлые сообщения\n"
        "/who                  кто в чате и кого можно позвать\n"
        "/chats                другой чат\n"
        "/quit                 выход"
    ),
}
_ENGLISH = {
    "username": "Username or e-mail: ",
    "password": "Password: ",
    "organization": "Organization (slug): ",
    "wrong": "That did not work: {detail}",
    "new_password": "The password is a temporary one and must be changed. New password: ",
    "again": "Once more: ",
    "differ": "The two are not the same.",
    "in_clear": "Careful: {url} is without TLS, the password travels in the clear.",
    "hello": "{name}, {organization}. /help lists the commands, /quit leaves.",
    "chats": "Chats:",
    "no_chats": "There are no chats yet.",
    "unread": " ({count} new)",
    "pick": "Number of the chat, or + to make one: ",
    "no_such_chat": "There is no such chat.",
    "title": "Title of the chat: ",
    "members": "Whom to bring in (@names with spaces between, empty for nobody): ",
    "nobody": "There is nobody called {name}",
    "in_chat": "── {title} ── {members}",
    "draft": "draft",
    "queued": "{role} is waiting for its turn",
    "working": "{role} is thinking …",
    "restarted": "{role} begins its answer anew",
    "tool": "{role}: {what} …",
    "failed": "{role} has not answered: {detail} ({code}). /retry tries again.",
    "cancelled": "{role} was stopped. /retry tries again.",
    "limit": "{role} reached a limit ({limit}).",
    "sign": "#{no} is a {draft}. /approve signs it, /edit changes it, /reject refuses it.",
    "waits": "#{no} is a {draft} and waits for: {approvers}.",
    "approved": "#{no} was signed by {by}",
    "edited": "#{no} was changed and signed by {by}",
    "rejected": "#{no} was rejected by {by}",
    "withdrawn": "(a rejected draft)",
    "deleted": "(deleted)",
    "changed": "#{no} was changed",
    "ignored": "These call nobody: {names}. /who tells who can be called.",
    "nothing_to_sign": "There is nothing to sign.",
    "which": "Several wait for a signature: {numbers}. Say the number.",
    "nothing_to_stop": "Nobody is answering.",
    "nothing_to_retry": "There is nothing to try again.",
    "edit_text": "The new text, with a line of one dot at its end:",
    "no_edit": "Without a text nothing was changed.",
    "who_people": "People: {people}",
    "who_roles": "Roles: {roles}",
    "lost": "The engine does not answer; reconnecting …",
    "found": "Connected again.",
    "resync": "Too much was missed; the chat was loaded anew.",
    "gone": "This chat is no longer yours.",
    "signed_out": "The session has ended. Sign in again.",
    "no": "No: {detail}",
    "bye": "Goodbye.",
    "unknown": "There is no command {command}. /help lists them.",
    "asker": "who asked",
    "admins": "admins",
    "everybody": "members",
    "help": (
        "A line without / is posted; @name calls a colleague, @@role a role.\n"
        "/approve [no]         sign a draft (say its number when several wait)\n"
        "/edit [no] [text]     change it and sign\n"
        "/reject [no] [why]    refuse it\n"
        "/stop                 stop those who are answering\n"
        "/retry                try a failed answer again\n"
        "/history [count]      earlier messages\n"
        "/who                  who is here, and who can be called\n"
        "/chats                another chat\n"
        "/quit                 leave"
    ),
}
assert _RUSSIAN.keys() == _ENGLISH.keys()


class Words:
    """Sentences in one language, which may change once it is known who reads them."""

    def __init__(self, locale: str) -> None:
        self.locale = locale

    def __call__(self, name: str, /, **values: object) -> str:
        """Return a sentence with its values filled in."""
        sentences = _RUSSIAN if self.locale == "ru" else _ENGLISH
        return sentences[name].format(**values)

    def role_name(self, role: Mapping[str, Any]) -> str:
        """Return what a role is called in this language."""
        return str(role["name"][self.locale])


def locale_of(environment: Mapping[str, str]) -> str:
    """Return the language of a terminal by its environment; Russian when it says so, else English."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environment.get(name):
            return "ru" if value.lower().startswith("ru") else "en"
    return "en"
