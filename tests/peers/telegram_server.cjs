// Starts telegram-test-api on the port it is given, and says so.
const Server = require('telegram-test-api');
const port = Number(process.argv[2]);
new (Server.default ?? Server)({ port, host: '127.0.0.1', storage: 'RAM', storeTimeout: 60 }).start().then(() => console.log('up'));
