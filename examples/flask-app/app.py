"""A Flask application whose users can log out, and which knows nothing of revocation checks.

It issues and reads tokens with flask-jwt-extended and has no blocklist: Envoy asks Revoxy about every
request before it arrives here. All that is left of revocation is to say, at logout, which token to revoke.
"""

import os
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, ProxyHandler, build_opener

from flask import Flask, jsonify, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    get_jwt_identity,
    jwt_required,
)

ISSUER = os.environ.get("JWT_ISSUER", "https://auth.shop.example")
AUDIENCE = os.environ.get("JWT_AUDIENCE", "shop")
REVOKE_URL = os.environ.get("REVOXY_API", "http://127.0.0.1:9091").rstrip("/") + "/oauth2/revoke"
REVOKE_TIMEOUT = 3  # seconds
DEMO_USER = {"username": "test", "password": "test"}

app = Flask(__name__)
app.config.update(
    # Signed with a private key that only this application has; Revoxy holds the public one.
    JWT_ALGORITHM="RS256",
    JWT_PRIVATE_KEY=Path(os.environ["JWT_PRIVATE_KEY_FILE"]).read_text(),
    JWT_PUBLIC_KEY=Path(os.environ["JWT_PUBLIC_KEY_FILE"]).read_text(),
    JWT_ENCODE_ISSUER=ISSUER,
    JWT_DECODE_ISSUER=ISSUER,
    JWT_ENCODE_AUDIENCE=AUDIENCE,
    JWT_DECODE_AUDIENCE=AUDIENCE,
    JWT_ACCESS_TOKEN_EXPIRES=timedelta(minutes=15),
    JWT_REFRESH_TOKEN_EXPIRES=timedelta(days=30),
)
JWTManager(app)


class NoRedirect(HTTPRedirectHandler):
    """Followed, a redirected POST becomes a GET, whose 200 would pass for a revocation."""

    def redirect_request(self, *args):
        return None


# No proxy either: a token goes to Revoxy and to nobody else.
revoxy = build_opener(ProxyHandler({}), NoRedirect)


@app.post("/login")
def login():
    if request.get_json(silent=True) != DEMO_USER:
        return jsonify(msg="Bad username or password"), 401
    username = DEMO_USER["username"]
    return jsonify(
        access_token=create_access_token(identity=username),
        refresh_token=create_refresh_token(identity=username),
    )


@app.post("/refresh")
@jwt_required(refresh=True)
def refresh():
    return jsonify(access_token=create_access_token(identity=get_jwt_identity()))


@app.delete("/logout")
@jwt_required()
def logout():
    return revoke_presented_token("Access token revoked")


@app.delete("/logout2")
@jwt_required(refresh=True)
def logout2():
    return revoke_presented_token("Refresh token revoked")


@app.get("/protected")
@jwt_required()
def protected():
    return jsonify(hello="world")


def revoke_presented_token(done):
    """Revoke the token of this request (RFC 7009), and claim success only when Revoxy confirmed it."""
    form = urlencode({"token": request.authorization.token}).encode()
    try:
        with revoxy.open(REVOKE_URL, form, timeout=REVOKE_TIMEOUT) as answer:
            revoked, problem = answer.status == 200, f"HTTP status {answer.status}"
    except (OSError, HTTPException) as error:  # no answer, or one that is an error
        revoked, problem = False, error
    if not revoked:
        app.logger.error("token not revoked: %s", problem)
        return jsonify(msg="You are still logged in: please try again"), 503
    return jsonify(msg=done)


if __name__ == "__main__":
    app.run(host=os.environ.get("BIND", "127.0.0.1"), port=int(os.environ.get("PORT", "5000")))
