"""A program of TiffTock's shape, the API: Flask and Flask-SQLAlchemy on SQLite, to be served by `flask run`.

Written from a description of it: a key in a header, `POST /remind` with when, message and method, `GET /reminders`, and
`GET` and `DELETE /reminder/<id>`. SQLite as Flask-SQLAlchemy sets it up: a rollback journal, which is durable too
(synchronous=FULL is SQLite's default).
"""

import os
from datetime import datetime

from flask import Flask, jsonify, request
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
db = SQLAlchemy(app)


class Reminder(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    when = db.Column(db.DateTime, nullable=False)
    message = db.Column(db.String, nullable=False)
    method = db.Column(db.String, nullable=False)

    def to_json(self):
        return {"id": self.id, "when": self.when.isoformat(), "message": self.message, "method": self.method}


with app.app_context():
    db.create_all()


@app.before_request
def check_key():
    if request.headers.get("x-api-key") != os.environ["API_KEY"]:
        return jsonify({"error": "invalid api key"}), 401
    return None


@app.post("/remind")
def create():
    fields = request.get_json()
    missing = [name for name in ("when", "message", "method") if name not in fields]
    if missing:
        return jsonify({"error": f"missing: {', '.join(missing)}"}), 400
    when = datetime.fromisoformat(fields["when"])
    reminder = Reminder(when=when, message=fields["message"], method=fields["method"])
    db.session.add(reminder)
    db.session.commit()
    return jsonify(reminder.to_json()), 201


@app.get("/reminders")
def list_all():
    return jsonify([reminder.to_json() for reminder in db.session.scalars(db.select(Reminder))])


@app.get("/reminder/<int:number>")
def read(number):
    return jsonify(db.get_or_404(Reminder, number).to_json())


@app.delete("/reminder/<int:number>")
def delete(number):
    db.session.delete(db.get_or_404(Reminder, number))
    db.session.commit()
    return "", 204
