"""A server of SMTP (aiosmtpd): python smtp.py starttls|tls|plain CERTIFICATE KEY. Prints its port, then each mail as a JSON line."""
import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address.startswith("unknown@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(json.dumps({
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None or SECURITY == "tls",
            "authenticated": bool(session.authenticated), "headers": [[name, str(value)] for name, value in mail.items()],
            "body": mail.get_content(),
        }), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    fits = data.login == b"panda" and data.password == b"smtp-very-secret"
    return AuthResult(success=fits, handled=fits)


SECURITY, CERTIFICATE, KEY = sys.argv[1:4]
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
CONTEXT.load_cert_chain(CERTIFICATE, KEY)


def session():
    return SMTP(
        Handler(), hostname="localhost", tls_context=CONTEXT if SECURITY == "starttls" else None,
        require_starttls=SECURITY == "starttls", authenticator=authenticate, auth_required=SECURITY != "plain",
        auth_require_tls=SECURITY == "starttls",
    )


async def main():
    server = await asyncio.get_running_loop().create_server(
        session, "127.0.0.1", 0, ssl=CONTEXT if SECURITY == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
