"""A choice about two texts: Label Studio keeps a prediction that names one of them."""

import numpy as np
import pytest

from backend.problems.schema import Output
from backend.studio.client import Studio
from backend.studio.codec import decode, encode_prediction, read_item
from backend.studio.schema import parse_schema

pytestmark = pytest.mark.studio

CONFIG = """<View><Text name="left" value="$left"/><Text name="right" value="$right"/>
<Choices name="same" toName="left,right"><Choice value="yes"/><Choice value="no"/></Choices></View>"""


def test_a_suggestion_about_two_texts_is_stored_and_comes_back(admin: Studio) -> None:
    asked, data = parse_schema(CONFIG), {"left": "a", "right": "b"}
    project = int(admin.create_project("two texts", CONFIG)["id"])
    (number,) = admin.import_tasks(project, [{"data": data}])
    item = read_item(asked, data)
    body = encode_prediction(asked, {"same": Output(np.array([0.1, 0.9], np.float32))}, item, 0.3, "v1")
    assert admin.push_predictions(project, [{"task": number, **body}]) == 1
    (stored,) = admin._predictions(project=project)
    admin.annotate(number, stored["result"])
    (labelled,) = admin.labelled(project)
    assert decode(asked, labelled["annotations"], item)["same"].tolist() == [0, 1]
