// Tokens by jose and jsonwebtoken.

import { generateKeyPairSync, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import * as jose from "jose";
import jsonwebtoken from "jsonwebtoken";

const directory = process.argv[2];
const now = Math.floor(Date.now() / 1000);
const claims = {
  iss: "https://auth.shop.example", aud: "shop", sub: "alice", iat: now, nbf: now, exp: now + 3600,
};
const secret = randomBytes(64);
const pairs = {
  rsa: generateKeyPairSync("rsa", { modulusLength: 2048 }),
  ES256: generateKeyPairSync("ec", { namedCurve: "P-256" }),
  ES384: generateKeyPairSync("ec", { namedCurve: "P-384" }),
  ES512: generateKeyPairSync("ec", { namedCurve: "P-521" }),
  EdDSA: generateKeyPairSync("ed25519"),
};
const pair = (algorithm) => pairs[algorithm] ?? pairs.rsa;
const isSecret = (algorithm) => algorithm.startsWith("HS");
const publicJwk = (algorithm) =>
  isSecret(algorithm)
    ? { kty: "oct", k: secret.toString("base64url") }
    : pair(algorithm).publicKey.export({ format: "jwk" });
const signingKey = (algorithm) => (isSecret(algorithm) ? secret : pair(algorithm).privateKey);

const families = ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];

async function byJose(algorithm) {
  return new jose.SignJWT({ ...claims, jti: `jose-${algorithm}` })
    .setProtectedHeader({ alg: algorithm, kid: "k", typ: "JWT" })
    .sign(signingKey(algorithm));
}

async function byJsonwebtoken(algorithm) {
  const payload = { ...claims, jti: `jsonwebtoken-${algorithm}` };
  return jsonwebtoken.sign(payload, signingKey(algorithm), { algorithm, keyid: "k" });
}

async function write(name, algorithms, sign) {
  const vectors = [];
  for (const algorithm of algorithms) {
    const token = await sign(algorithm);
    vectors.push({ algorithm, type: "access", jwk: publicJwk(algorithm), token });
  }
  const manifest = new URL(`node_modules/${name}/package.json`, import.meta.url);
  const { version } = JSON.parse(readFileSync(manifest, "utf8"));
  const content = { library: `${name} ${version}`, now, vectors };
  writeFileSync(`${directory}/${name}.json`, `${JSON.stringify(content, null, 1)}\n`);
}

await write("jose", [...families, "ES256", "ES384", "ES512", "EdDSA"], byJose);
await write("jsonwebtoken", [...families, "ES256", "ES384", "ES512"], byJsonwebtoken);
