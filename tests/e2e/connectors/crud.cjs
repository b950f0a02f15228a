// Connector/Node.js, X DevAPI: works on documents and tables at HOST PORT; prints a transcript, a JSON line a step.
// MODE `write` makes everything anew, and leaves what `read` reads; that one also tries to write.
'use strict';

const crypto = require('crypto');
const mysqlx = require('@mysql/xdevapi');

const [host, port, mode] = process.argv.slice(2);
const { APP_USER, APP_PASSWORD, APP_CA } = process.env;
const CA = require('fs').readFileSync(APP_CA, 'utf8');
const digest = text => crypto.createHash('sha256').update(text).digest('hex');
// More than one read of anybody's, and still so when it is compressed, as connectors do.
const WIDE = Array.from({ length: 6000 }, (_, number) => `ü${digest(String(number))}`).join('');

// A value as JSON can have it; what is long, by its length and digest.
function plain (key, value) {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'string' || value.length <= 1000) return value;
  return [value.length, digest(value)];
}

async function step (name, act) {
  let came;
  try {
    came = await act();
  } catch (error) {
    came = { error: error.info ? error.info.code : null, message: error.message };
  }
  console.log(JSON.stringify([name, came === undefined ? null : came], plain));
}

const rows = result => ({ columns: result.getColumns().map(one => one.getColumnLabel()), rows: result.fetchAll() });
const documents = result => result.fetchAll();
const affected = result => [result.getAffectedItemsCount(), result.getWarnings()];

async function write (session, schema) {
  const sql = text => session.sql(text).execute();
  await sql('DROP TABLE IF EXISTS app.js_stock');
  await schema.dropCollection('js_things');
  const things = await schema.createCollection('js_things');
  await step('no collection of that name twice', async () => (await schema.createCollection('js_things')).getName());
  const first = { _id: 'a', name: 'ännä', age: 30, tags: ['x', 'y'], nested: { deep: [1, 2.5, null, true] } };
  await step('add one', async () => affected(await things.add(first).execute()));
  const more = [['b', 20], ['c', 40], ['d', 50]].map(([_id, age]) => ({ _id, name: _id.repeat(3), age }));
  await step('add several', async () => affected(await things.add(...more).execute()));
  await step('add a wide one', async () => affected(await things.add({ _id: 'w', name: WIDE, age: 1 }).execute()));
  await step('add one that is there', async () => affected(await things.add({ _id: 'a' }).execute()));
  await step('modify', async () =>
    affected(await things.modify('age > :age').bind('age', 35).set('old', true).execute()));
  await step('append', async () => affected(await things.modify("_id = 'a'").arrayAppend('tags', 'z').execute()));
  await step('replace', async () => affected(await things.replaceOne('c', { name: 'replaced', age: 41 })));
  await step('remove', async () => affected(await things.remove("_id = 'd'").execute()));
  await step('create table', async () => affected(await sql('CREATE TABLE app.js_stock (' +
    'id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(40) UNIQUE, price DECIMAL(10,3), data LONGTEXT)')));
  const table = schema.getTable('js_stock');
  await step('insert', async () => {
    const adding = table.insert(['name', 'price', 'data']);
    for (let number = 0; number < 5; number++) adding.values(`n${number}`, number + 0.125, 'x'.repeat(number));
    const result = await adding.execute();
    return [affected(result), result.getAutoIncrementValue()];
  });
  await step('insert what is there', async () => affected(await table.insert(['name']).values('n1').execute()));
  await step('insert a wide one', async () =>
    affected(await table.insert(['name', 'data']).values('wide', WIDE).execute()));
  await step('update', async () =>
    affected(await table.update().set('price', 9.5).where('id = :id').bind('id', 2).execute()));
  await step('delete', async () => affected(await table.delete().where("name = 'n4'").execute()));
  await step('transactions', async () => {
    const seen = [];
    await session.startTransaction();
    await table.delete().where('id = 1').execute();
    const point = await session.setSavepoint('here');
    await table.delete().where('id > 0').execute();
    seen.push(await table.count());
    await session.rollbackTo(point);
    seen.push(await table.count());
    await session.rollback();
    seen.push(await table.count());
    await session.startTransaction();
    await table.insert(['name']).values('kept').execute();
    await session.commit();
    return [...seen, await table.count()];
  });
  await step('rollback to nowhere', async () => session.rollbackTo('nowhere'));
  await read(session, schema);
}

async function read (session, schema) {
  const things = schema.getCollection('js_things');
  const table = schema.getTable('js_stock');
  const sql = (text, ...values) => session.sql(text).bind(...values).execute();
  await step('find all', async () => documents(await things.find().sort('_id').execute()));
  await step('find with a condition', async () =>
    documents(await things.find('age BETWEEN 20 AND 40').sort('age DESC').execute()));
  await step('find fields', async () =>
    documents(await things.find().fields('name AS n', 'age').sort('_id').limit(2).offset(1).execute()));
  await step('count', async () => things.count());
  await step('one', async () => things.getOne('a'));
  await step('one that is not there', async () => things.getOne('nobody'));
  // The second time each is a prepared statement.
  const asking = things.find('age > :age').sort('_id');
  for (const age of [10, 30, 45]) {
    await step(`prepared find above ${age}`, async () => documents(await asking.bind('age', age).execute()));
  }
  const selecting = table.select('id', 'name').where('id >= :id').orderBy('id');
  for (const number of [1, 3, 5]) {
    await step(`prepared select from ${number}`, async () => rows(await selecting.bind('id', number).execute()));
  }
  await step('select all', async () => rows(await table.select().orderBy('id').execute()));
  await step('select with sql', async () => rows(await sql('SELECT ?, ? + 1, NULL', 'tëxt', 41)));
  await step('no such table', async () => rows(await sql('SELECT * FROM app.nowhere')));
  await step('no sql', async () => rows(await sql('SELEKT')));
  await step('no right', async () => rows(await sql('SELECT * FROM mysql.user')));
  await step('error of a function', async () => rows(await sql('SELECT EXP(10000)')));
  await step('exists', async () => [await schema.existsInDatabase(), await things.existsInDatabase()]);
  await step('write', async () => affected(await table.update().set('price', 9.5).where('id = 2').execute()));
  await step('afterwards', async () => rows(await sql("SELECT 'alive'")));
}

async function main () {
  const session = await mysqlx.getSession({
    host, port: Number(port), user: APP_USER, password: APP_PASSWORD, tls: { enabled: true, ca: CA }
  });
  await { write, read }[mode](session, session.getSchema('app'));
  await session.close();
  await step('closed', async () => rows(await session.sql('SELECT 1').execute()));
}

main().catch(error => {
  console.error(error);
  process.exitCode = 1;
});
