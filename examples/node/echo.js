#!/usr/bin/env node
// An upstream that sends every payload back to its client.
'use strict';
const { serve, to } = require('./upstream');

serve((request) => [to(request.client_uuid, request.payload)]);
