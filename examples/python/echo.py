#!/usr/bin/python3
"""An upstream that sends every payload back to its client."""
from upstream import serve, to

serve(lambda request: [to(request.client_uuid, request.payload)])
