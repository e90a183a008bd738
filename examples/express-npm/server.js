const express = require("express");
const path = require("path");

const app = express();
app.get("/", (request, response) => response.sendFile(path.join(__dirname, "page.txt")));
app.listen(process.env.PORT || 8000, "127.0.0.1");
