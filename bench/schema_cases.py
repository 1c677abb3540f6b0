"""What schema_bench.py asks for: schemas and tools. Standard library only.

All strings and arrays are bounded, so that an answer of a small model at temperature 1.0 ends within its budget."""


def text(longest, shortest=1):
    return {"type": "string", "minLength": shortest, "maxLength": longest}


def whole(minimum, maximum):
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def like(pattern):
    return {"type": "string", "pattern": pattern}


def one_of(*values):
    return {"enum": list(values)}


def ref(name):
    return {"$ref": f"#/$defs/{name}"}


def array(items, shortest, longest):
    return {"type": "array", "items": items, "minItems": shortest, "maxItems": longest}


def thing(properties, optional=()):
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


PERSON = thing({"name": text(30), "age": whole(0, 120)})

# What the model is asked to write, and the schema of it.
SCHEMAS = {
    "a person with a mail address": thing(
        {"name": text(30), "age": whole(0, 120), "mail": like("^[a-z]{1,10}@[a-z]{1,10}\\.(com|org|net)$")}
    ),
    "an address in Europe": {
        **thing({"street": text(30), "number": whole(1, 999), "place": ref("place")}),
        "$defs": {"place": thing({"city": text(20), "postcode": like("^[0-9]{5}$"), "country": like("^[A-Z]{2}$")})},
    },
    "the weather of a day": thing(
        {
            "condition": one_of("sun", "rain", "snow", "fog"),
            "celsius": whole(-60, 60),
            "humidity": whole(0, 100),
            "wind": thing({"from": one_of("N", "E", "S", "W"), "speed": whole(0, 200)}),
        }
    ),
    "a product of a shop": thing(
        {
            "sku": like("^[A-Z]{3}-[0-9]{4}$"),
            "title": text(40),
            "cents": whole(1, 1_000_000),
            "tags": array(one_of("new", "sale", "used", "rare"), 0, 4),
        }
    ),
    "a short recipe": thing(
        {
            "title": text(30),
            "ingredients": array(thing({"name": text(20), "grams": whole(1, 2000)}), 1, 5),
            "steps": array(text(60), 1, 4),
        }
    ),
    "a list of things to do": {
        **thing({"owner": text(20), "items": array(ref("item"), 1, 4)}),
        "$defs": {
            "item": thing(
                {"what": text(40), "done": {"type": "boolean"}, "priority": ref("priority")}, optional=["priority"]
            ),
            "priority": one_of("low", "middle", "high"),
        },
    },
    "an event of a calendar": thing(
        {
            "title": text(40),
            "day": {"type": "string", "format": "date"},
            "begin": like("^([01][0-9]|2[0-3]):[0-5][0-9]$"),
            "guests": array(text(20), 0, 3),
        }
    ),
    "a colour": thing(
        {
            "name": text(20),
            "hex": like("^#[0-9a-f]{6}$"),
            "rgb": {"type": "array", "prefixItems": [whole(0, 255), whole(0, 255), whole(0, 255)]},
        }
    ),
    "a book": thing(
        {
            "title": text(40),
            "isbn": like("^97[89]-[0-9]{10}$"),
            "year": whole(1450, 2100),
            "authors": array(text(25), 1, 3),
        }
    ),
    "a matrix of small numbers": thing({"rows": array(array(whole(-9, 9), 2, 3), 2, 3)}),
    "a question of a quiz": thing(
        {"question": text(60), "choices": array(text(25), 4, 4), "answer": one_of("A", "B", "C", "D")}
    ),
    "an order with its lines": {
        **thing(
            {
                "number": like("^(EU|US)[0-9]{6}$"),
                "customer": ref("person"),
                "lines": array(ref("line"), 1, 3),
                "express": {"type": "boolean"},
            }
        ),
        "$defs": {"person": PERSON, "line": thing({"article": text(20), "count": whole(1, 99)})},
    },
    "the settings of a server": thing(
        {
            "host": like("^[a-z]{1,12}(-[a-z]{1,6})?$"),
            "port": whole(1, 65535),
            "level": one_of("debug", "info", "warning", "error"),
            "tls": {"type": "boolean"},
            "workers": {"type": "integer", "minimum": 1, "maximum": 64},
        },
        optional=["tls", "workers"],
    ),
    "two shapes": array(
        {
            "anyOf": [
                thing({"kind": {"const": "circle"}, "radius": whole(1, 100)}),
                thing({"kind": {"const": "box"}, "width": whole(1, 100), "height": whole(1, 100)}),
            ]
        },
        2,
        2,
    ),
    "a chain of stations": {
        **ref("station"),
        "$defs": {
            "station": thing({"name": text(15), "next": {"anyOf": [{"type": "null"}, ref("station")]}}),
        },
    },
    "an employee and the manager": {
        **thing(
            {
                "employee": ref("person"),
                "manager": {"anyOf": [ref("person"), {"type": "null"}]},
                "room": ref("room"),
            }
        ),
        "$defs": {"person": PERSON, "room": {"type": ["string", "null"], "maxLength": 8}},
    },
    "a phone book with two entries": array(
        thing({"name": text(25), "phone": like("^\\+[0-9]{1,3} [0-9]{3} [0-9]{4}$")}), 2, 2
    ),
    "a release of a program": thing(
        {
            "version": like("^[0-9]{1,2}\\.[0-9]{1,2}\\.[0-9]{1,2}$"),
            "changes": array(thing({"kind": one_of("fix", "feature", "docs"), "what": text(50)}), 1, 3),
            "breaking": {"type": "boolean"},
        }
    ),
    "ein Möbelstück, auf Deutsch": thing(
        {
            "Name": text(25),
            "Größe": one_of("klein", "mittel", "groß"),
            "Stückzahl": whole(1, 500),
            "Farbe": one_of("grün", "weiß", "schwarz"),
        }
    ),
    "a measurement with its error": thing(
        {
            "format": {"const": "m/1"},
            "sensor": thing(
                {
                    "id": like("^(?:in|out)-[a-f0-9]{4}$"),
                    "site": thing(
                        {
                            "floor": whole(-3, 40),
                            "offset": {"type": "integer", "exclusiveMinimum": -1000, "exclusiveMaximum": 0},
                        }
                    ),
                }
            ),
            "values": array(whole(0, 4095), 1, 5),
            "remark": {"type": ["string", "null"], "maxLength": 30},
        }
    ),
}

# Declarations of tools, all together: a call has to take one of them or the one that is named.
TOOLS = [
    {
        "name": "wetter_für_ort",
        "description": "Sagt das Wetter für einen Ort voraus.",
        "input_schema": thing(
            {
                "ort": one_of("Zürich", "København", "Łódź", "São Paulo", "東京"),
                "tage": whole(1, 7),
                "sprache": one_of("dänisch", "français"),
            }
        ),
    },
    {
        "name": "翻訳",
        "description": "文を翻訳する。Translates a sentence.",
        "input_schema": thing({"文": text(40), "言語": one_of("日本語", "Ελληνικά", "русский")}),
    },
    {
        "name": "найти_книгу",
        "description": "Ищет книгу в каталоге. Finds a book.",
        "input_schema": thing(
            {
                "автор": one_of("Чехов", "Толстой", "Ахматова"),
                "год": whole(1800, 1960),
                "слова": array(text(12), 0, 2),
            },
            optional=["слова"],
        ),
    },
]

# What is asked of them.
QUESTIONS = [
    "Wie wird das Wetter in Zürich, und in København?",
    "Translate “good morning” — into 日本語, s'il vous plaît.",
    "Найди книгу Чехова о чайке.",
    "Please use one of your tools for: naïve café ☕.",
]
