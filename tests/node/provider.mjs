// A certified OpenID Connect provider on a loopback port, for the sign-in tests: `node provider.mjs PORT`.
//
// PUT /test/world {clients, accounts, algorithm} starts it anew, with the same key while the algorithm stays; PUT
// /test/keys turns the key; PUT /test/down {"paths": [...]} lets those paths fail. Accounts are {sub: claims}; the development login
// form signs in whoever it is told.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(`${process.env.NODE_PATH}/`);
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
let world = { clients: [], accounts: {}, algorithm: 'RS256' };
let key = newKey('RS256');
let down = [];
let answer;

function newKey(algorithm) {
  const kinds = { RS256: ['rsa', { modulusLength: 2048 }], ES256: ['ec', { namedCurve: 'P-256' }] };
  const { privateKey } = generateKeyPairSync(...kinds[algorithm]);
  const kid = randomBytes(8).toString('hex');
  return { ...privateKey.export({ format: 'jwk' }), kid, alg: algorithm, use: 'sig' };
}

function build() {
  const claims = new Set(Object.values(world.accounts).flatMap((account) => Object.keys(account)));
  const provider = new Provider(issuer, {
    clients: world.clients,
    jwks: { keys: [key] },
    cookies: { keys: ['for tests only'] },
    claims: { openid: ['sub', ...claims], auth_time: null },
    conformIdTokenClaims: false,
    features: { deviceFlow: { enabled: true }, revocation: { enabled: true } },
    pkce: { required: () => true },
    findAccount: (_context, sub) => ({
      accountId: sub,
      claims: () => ({ ...world.accounts[sub], sub: world.accounts[sub]?.sub ?? sub }),
    }),
    clientDefaults: { id_token_signed_response_alg: world.algorithm },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256'] },
    ttl: { Session: 3600, Interaction: 600, Grant: 3600, AccessToken: 600, IdToken: 600, DeviceCode: 600 },
    rotateRefreshToken: true,
    renderError: (context, out) => {
      context.type = 'json';
      context.body = out;
    },
  });
  provider.on('server_error', (_context, error) => console.error(error.stack));
  answer = provider.callback();
}

function read(request) {
  return new Promise((resolve) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => resolve(JSON.parse(Buffer.concat(parts).toString() || '{}')));
  });
}

build();
createServer(async (request, response) => {
  const path = new URL(request.url, issuer).pathname;
  if (path.startsWith('/test/') && request.method === 'PUT') {
    const body = await read(request);
    if (path === '/test/world') world = { ...world, ...body };
    if (path === '/test/keys' || key.alg !== world.algorithm) key = newKey(world.algorithm);
    if (path === '/test/down') down = body.paths;
    else build();
    response.writeHead(204).end();
  } else if (down.includes(path)) {
    response.writeHead(503).end('down');
  } else {
    answer(request, response);
  }
}).listen(port, '127.0.0.1', () => console.log('ready'));
