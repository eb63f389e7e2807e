// An Express application that logs out as very many do: the token's jti goes to Redis as `blacklist:<jti>`, with the life
// that the token has left. It knows nothing of Revoxy. The counting of requests is for the tests.
'use strict';

const { randomUUID } = require('node:crypto');
const express = require('express');
const Redis = require('ioredis');
const jwt = require('jsonwebtoken');

const SECRET = process.env.JWT_SECRET;
const redis = new Redis(process.env.REDIS_URL);
const app = express();
const served = {};

app.use((req, res, next) => {
  served[req.path] = (served[req.path] || 0) + 1;
  next();
});

async function authenticate(req, res, next) {
  const [scheme, token] = (req.headers.authorization || '').split(' ');
  if (scheme !== 'Bearer' || !token) return res.status(401).json({ message: 'No token' });
  try {
    req.user = jwt.verify(token, SECRET, { algorithms: ['HS256'] });
  } catch (error) {
    return res.status(401).json({ message: 'Invalid token' });
  }
  try {
    if (await redis.exists(`blacklist:${req.user.jti}`)) {
      return res.status(401).json({ message: 'Logged out' });
    }
  } catch (error) {
    return next(error);
  }
  return next();
}

app.post('/login', (req, res) => {
  const accessToken = jwt.sign({ sub: 'alice', jti: randomUUID() }, SECRET, { expiresIn: '1h' });
  res.json({ access_token: accessToken });
});

app.delete('/logout', authenticate, async (req, res, next) => {
  const { jti, exp } = req.user;
  const left = Math.max(exp - Math.floor(Date.now() / 1000), 1);
  try {
    await redis.set(`blacklist:${jti}`, '1', 'EX', left);
    res.json({ message: 'Logged out' });
  } catch (error) {
    next(error);
  }
});

app.get('/protected', authenticate, (req, res) => res.json({ hello: req.user.sub }));

app.get('/served', (req, res) => res.json(served));

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
