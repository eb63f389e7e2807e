"""Tokens by PyJWT and flask-jwt-extended."""

import json
import secrets
import sys
import time
from datetime import timedelta
from importlib.metadata import version

import flask
import flask_jwt_extended
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

NOW = int(time.time())
ISSUER = "https://auth.shop.example"
CLAIMS = {"iss": ISSUER, "aud": "shop", "sub": "alice", "iat": NOW, "nbf": NOW, "exp": NOW + 3600}

SECRET = secrets.token_bytes(64)
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
P521 = ec.generate_private_key(ec.SECP521R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()


def key_for(algorithm):
    """The signing key and its public JWK."""
    if algorithm.startswith("HS"):
        return SECRET, HMACAlgorithm.to_jwk(SECRET, as_dict=True)
    if algorithm == "ES256":
        return P256, ECAlgorithm.to_jwk(P256.public_key(), as_dict=True)
    if algorithm == "ES384":
        return P384, ECAlgorithm.to_jwk(P384.public_key(), as_dict=True)
    if algorithm == "ES512":
        return P521, ECAlgorithm.to_jwk(P521.public_key(), as_dict=True)
    if algorithm == "EdDSA":
        return ED25519, OKPAlgorithm.to_jwk(ED25519.public_key(), as_dict=True)
    return RSA, RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True)


def vector(algorithm, token, jwk, token_type="access"):
    public = {k: v for k, v in jwk.items() if k in ("kty", "crv", "x", "y", "n", "e", "k")}
    return {"algorithm": algorithm, "type": token_type, "jwk": public, "token": token}


def pyjwt():
    families = ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
    for algorithm in families + ["ES256", "ES384", "ES512", "EdDSA"]:
        key, jwk = key_for(algorithm)
        claims = CLAIMS | {"jti": f"pyjwt-{algorithm}"}
        yield vector(algorithm, jwt.encode(claims, key, algorithm, headers={"kid": "k"}), jwk)


def flask_jwt():
    for algorithm in ["HS256", "HS512", "RS256", "ES256"]:
        key, jwk = key_for(algorithm)
        app = flask.Flask("vectors")
        app.config.update(
            JWT_ALGORITHM=algorithm,
            JWT_SECRET_KEY=SECRET,
            JWT_ENCODE_ISSUER=ISSUER,
            JWT_ENCODE_AUDIENCE="shop",
            JWT_ACCESS_TOKEN_EXPIRES=timedelta(hours=1),
            JWT_REFRESH_TOKEN_EXPIRES=timedelta(hours=1),
        )
        if not algorithm.startswith("HS"):
            app.config["JWT_PRIVATE_KEY"] = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode()
        flask_jwt_extended.JWTManager(app)
        with app.app_context():
            access = flask_jwt_extended.create_access_token("alice", fresh=True)
            yield vector(algorithm, access, jwk)
            refresh = flask_jwt_extended.create_refresh_token("alice")
            yield vector(algorithm, refresh, jwk, "refresh")


for name, package, vectors in [
    ("pyjwt", "PyJWT", pyjwt()),
    ("flask-jwt-extended", "Flask-JWT-Extended", flask_jwt()),
]:
    content = {"library": f"{package} {version(package)}", "now": NOW, "vectors": list(vectors)}
    with open(f"{sys.argv[1]}/{name}.json", "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
