// What a bundler does in larger apps.
const fs = require("fs");

fs.writeFileSync("page.txt", "Hello from Express\n");
