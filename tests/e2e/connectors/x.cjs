// Connector/Node.js: connects NAME, COUNT times; prints server UUID and cipher of each session.
'use strict';

const mysqlx = require('@mysql/xdevapi');

const [name, count] = process.argv.slice(2);
const { APP_USER, APP_PASSWORD, APP_CA } = process.env;
const uri = `mysqlx+srv://${encodeURIComponent(APP_USER)}:${encodeURIComponent(APP_PASSWORD)}@${name}` +
  `?ssl-mode=VERIFY_CA&ssl-ca=${encodeURIComponent(APP_CA)}&connect-timeout=5000`;

async function main () {
  const reached = [];
  for (let left = Number(count); left > 0; left--) {
    const session = await mysqlx.getSession(uri);
    const result = await session.sql(
      'SELECT @@server_uuid, VARIABLE_VALUE FROM performance_schema.session_status ' +
      "WHERE VARIABLE_NAME = 'Mysqlx_ssl_cipher'").execute();
    reached.push(result.fetchOne());
    await session.close();
  }
  console.log(JSON.stringify(reached));
}

main().catch(error => {
  console.error(error);
  process.exitCode = 1;
});
