"""A Flask application on flask-jwt-extended 3, revoking as its examples/redis_blacklist.py (3.25.1) does.

Every token is written to Redis when it is issued, as "false", and at logout as "true"; one that is not there counts as
revoked. Beside that example: the counting of requests, and the un-revoking, for the tests.
"""

import os
from datetime import timedelta

from python314 import restore_what_flask_1_needs

restore_what_flask_1_needs()

import redis  # noqa: E402
from flask import Flask, jsonify, request  # noqa: E402
from flask_jwt_extended import (  # noqa: E402
    JWTManager,
    create_access_token,
    create_refresh_token,
    get_jti,
    get_jwt_identity,
    get_raw_jwt,
    jwt_refresh_token_required,
    jwt_required,
)

ACCESS_EXPIRES = timedelta(minutes=15)
REFRESH_EXPIRES = timedelta(days=30)

app = Flask(__name__, instance_path=os.path.dirname(os.path.abspath(__file__)))
app.config["JWT_SECRET_KEY"] = os.environ["JWT_SECRET_KEY"]
app.config["JWT_ACCESS_TOKEN_EXPIRES"] = ACCESS_EXPIRES
app.config["JWT_REFRESH_TOKEN_EXPIRES"] = REFRESH_EXPIRES
app.config["JWT_BLACKLIST_ENABLED"] = True
app.config["JWT_BLACKLIST_TOKEN_CHECKS"] = ["access", "refresh"]
jwt = JWTManager(app)

revoked_store = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)

served = {}


@app.before_request
def count():
    served[request.path] = served.get(request.path, 0) + 1


@jwt.token_in_blacklist_loader
def check_if_token_is_revoked(decrypted_token):
    jti = decrypted_token["jti"]
    entry = revoked_store.get(jti)
    if entry is None:
        return True
    return entry == "true"


@app.route("/login", methods=["POST"])
def login():
    access_token = create_access_token(identity="test")
    refresh_token = create_refresh_token(identity="test")
    access_jti = get_jti(encoded_token=access_token)
    refresh_jti = get_jti(encoded_token=refresh_token)
    revoked_store.set(access_jti, "false", ACCESS_EXPIRES * 1.2)
    revoked_store.set(refresh_jti, "false", REFRESH_EXPIRES * 1.2)
    return jsonify(access_token=access_token, refresh_token=refresh_token), 201


@app.route("/refresh", methods=["POST"])
@jwt_refresh_token_required
def refresh():
    access_token = create_access_token(identity=get_jwt_identity())
    revoked_store.set(get_jti(encoded_token=access_token), "false", ACCESS_EXPIRES * 1.2)
    return jsonify(access_token=access_token), 201


@app.route("/logout", methods=["DELETE"])
@jwt_required
def logout():
    revoked_store.set(get_raw_jwt()["jti"], "true", ACCESS_EXPIRES * 1.2)
    return jsonify(msg="Access token revoked")


@app.route("/logout2", methods=["DELETE"])
@jwt_refresh_token_required
def logout2():
    revoked_store.set(get_raw_jwt()["jti"], "true", REFRESH_EXPIRES * 1.2)
    return jsonify(msg="Refresh token revoked")


@app.route("/protected", methods=["GET"])
@jwt_required
def protected():
    return jsonify(hello="world")


# For the tests, which ask the application itself.
@app.route("/unrevoke/<jti>", methods=["POST"])
def unrevoke(jti):
    revoked_store.set(jti, "false", ACCESS_EXPIRES * 1.2)
    return jsonify(msg="Token un-revoked")


@app.route("/served")
def requests_served():
    return jsonify(served)
