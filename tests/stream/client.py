"""The same as client.js, in short, with Python's websocket-client: client.py BASE WANT PROTOCOLS.  Prints {"passed", "failed"}."""
import array
import json
import ssl
import sys

import websocket

BASE, WANT, PROTOCOLS = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])


def connect(path):
    return websocket.create_connection(BASE + path, subprotocols=PROTOCOLS, timeout=60,
                                       sslopt={"cert_reqs": ssl.CERT_NONE, "check_hostname": False})


def a_text_streams_as_it_is_without_a_stream():
    ws, text = connect("/stream?model=kjv"), ""
    ws.send(json.dumps({"id": 1, "generate": WANT["generate"]}))
    while "token" in (message := json.loads(ws.recv())):
        text += message["token"]["text"]
    assert text == WANT["text"] and message["id"] == 1
    ws.close()


def frames_of_numbers_answered_in_kind():
    ws = connect("/stream?model=sensor&format=f32")
    for frame in WANT["frames"]:
        ws.send_binary(array.array("f", frame["in"]).tobytes())
        assert array.array("f", ws.recv()) == array.array("f", frame["out"])
    ws.close()


def pings_are_answered():
    ws = connect("/stream?model=kjv")
    ws.ping("hello")
    opcode, frame = ws.recv_data_frame(control_frame=True)
    assert opcode == websocket.ABNF.OPCODE_PONG and frame.data == b"hello"
    ws.close()


passed, failed = [], []
for step in (a_text_streams_as_it_is_without_a_stream, frames_of_numbers_answered_in_kind, pings_are_answered):
    try:
        step()
        passed.append(step.__name__)
    except Exception as error:  # whatever it is, the harness shows it
        failed.append(f"{step.__name__}: {error!r}")
print(json.dumps({"passed": passed, "failed": failed}))
