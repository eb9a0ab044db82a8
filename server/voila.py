"""Settings of the page: voila notebooks/13_detector.ipynb --Voila.config_file_paths=server (or: make detector)."""

import os
import re
import sys
from pathlib import Path

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

c = get_config()  # noqa: F821


class CheckedConnection(ZMQChannelsWebsocketConnection):
    """A kernel's websocket that ignores a message whose header promises more parts than its bytes can hold.

    jupyter_server (2.21 and before) would make room for them all: 64 bytes are enough to fill any memory.
    """

    def handle_incoming_message(self, incoming_msg):
        """Passes a message on to the kernel."""
        version_1 = self.subprotocol == "v1.kernel.websocket.jupyter.org"
        size, order = (8, "little") if version_1 else (4, "big")
        binary = isinstance(incoming_msg, bytes)
        if binary and int.from_bytes(incoming_msg[:size], order) >= len(incoming_msg) / size:
            self.log.warning("A malformed message was ignored")
        elif binary or not version_1:
            super().handle_incoming_message(incoming_msg)


# Another address than this machine's is asked for on the command line: --Voila.ip=0.0.0.0
addresses = re.findall(r"--Voila\.ip[= ](\S+)", " ".join(sys.argv))
for_others = bool({*addresses} - {"localhost", "127.0.0.1", "::1"})
if for_others:
    print("The page is for every machine that can reach this one. It asks for no password.", flush=True)
else:
    print("The page is for this machine only (for others too: --Voila.ip=0.0.0.0)", flush=True)


def hand_out_token(handler, **_):
    """Sets the cookie without which the page's farewell, which ends its kernel, would be taken for a stranger's."""
    handler.xsrf_token  # noqa: B018  # tornado sets the cookie when it is asked for its value


c.Voila.kernel_websocket_connection_class = CheckedConnection
c.VoilaConfiguration.prelaunch_hook = hand_out_token
# Voila takes no address of visitors for foreign, so that a web site could reach the page under a name of its own.
c.Voila.tornado_settings = {
    "allow_remote_access": for_others,
    "websocket_max_message_size": 256 * 2**20,  # an upload is one message; the notebook says how large it may be
    "headers": {
        "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; frame-ancestors 'self'; "
        "object-src 'none'; form-action 'none'; base-uri 'self'"
    },
}

# A theme or a template in the address would be written into the page as it is.
c.VoilaConfiguration.allow_theme_override = "NO"
c.VoilaConfiguration.allow_template_override = "NO"
c.VoilaConfiguration.template = "detector"  # in voila/templates, beside this file
os.environ["JUPYTER_PATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("JUPYTER_PATH", "")])
c.VoilaConfiguration.file_allowlist = []  # no file of the folder is served

# A visitor's kernel holds 1 GB: it goes when the page is closed, or five minutes after its connection was lost.
c.MappingKernelManager.cull_idle_timeout = 300
c.MappingKernelManager.cull_interval = 60
