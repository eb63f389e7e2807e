"""A Flask application that revokes as flask-jwt-extended 4 documents it, and knows nothing of Revoxy.

https://flask-jwt-extended.readthedocs.io/en/stable/blocklist_and_token_revoking.html: at logout the token's jti is
written to Redis with the life of an access token; a callback reads it. What is not in that example is the counting of
requests, for the tests.
"""

import os
from datetime import timedelta

import redis
from flask import Flask, jsonify, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    get_jwt,
    get_jwt_identity,
    jwt_required,
)

ACCESS_EXPIRES = timedelta(hours=1)

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = os.environ["JWT_SECRET_KEY"]
app.config["JWT_ACCESS_TOKEN_EXPIRES"] = ACCESS_EXPIRES
jwt = JWTManager(app)

jwt_redis_blocklist = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)

served = {}


@app.before_request
def count():
    served[request.path] = served.get(request.path, 0) + 1


@jwt.token_in_blocklist_loader
def check_if_token_is_revoked(jwt_header, jwt_payload: dict):
    jti = jwt_payload["jti"]
    token_in_redis = jwt_redis_blocklist.get(jti)
    return token_in_redis is not None


@app.route("/login", methods=["POST"])
def login():
    return jsonify(
        access_token=create_access_token(identity="example_user"),
        refresh_token=create_refresh_token(identity="example_user"),
    )


@app.route("/refresh", methods=["POST"])
@jwt_required(refresh=True)
def refresh():
    return jsonify(access_token=create_access_token(identity=get_jwt_identity()))


# The documentation has one route for both types; in envoy.yaml each type has a route of its own.
@app.route("/logout", methods=["DELETE"])
@jwt_required()
def logout():
    jti = get_jwt()["jti"]
    jwt_redis_blocklist.set(jti, "", ex=ACCESS_EXPIRES)
    return jsonify(msg="Access token revoked")


@app.route("/logout2", methods=["DELETE"])
@jwt_required(refresh=True)
def logout2():
    jti = get_jwt()["jti"]
    jwt_redis_blocklist.set(jti, "", ex=ACCESS_EXPIRES)
    return jsonify(msg="Refresh token revoked")


@app.route("/protected", methods=["GET"])
@jwt_required()
def protected():
    return jsonify(hello="world")


@app.route("/served")
def requests_served():
    return jsonify(served)
