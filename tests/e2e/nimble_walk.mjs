// The whole life of a studio with the JavaScript client as it was while there was a Nimble Studio: see nimble_walk.py.

import readline from "node:readline";
import * as nimble from "@aws-sdk/client-nimble";
import about from "@aws-sdk/client-nimble/package.json" with { type: "json" };

const wanted = JSON.parse(process.argv[2]);
const client = new nimble.NimbleClient({});
const goingOn = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const pages = {}, waited = new Set(), errors = {};

async function tell(moment, facts = {}) {
  process.stdout.write(JSON.stringify({ moment, ...facts }) + "\n");
  if ((await goingOn.next()).done) process.exit(1); // nobody is there any more
}

const send = (name, input) => client.send(new nimble[`${name}Command`](input));

async function wait(name, of) {
  await nimble[`waitUntil${name}`]({ client, maxWaitTime: 180, minDelay: 1, maxDelay: 1 }, of);
  waited.add(name);
}

async function listed(name, key, of, config = {}) {
  const found = [];
  for await (const page of nimble[`paginateList${name}`]({ client, ...config }, of)) found.push(...page[key]);
  pages[name] = found.length;
  return found;
}

async function refused(name, input) {
  try {
    await send(name, input);
  } catch (error) {
    errors[name] = [error.name, error.$metadata.httpStatusCode, Boolean(error.$metadata.requestId)];
  }
}

const role = "arn:aws:iam::000000000000:role/r";
const newStudio = { studioName: wanted.name, displayName: "Walk", adminRoleArn: role, userRoleArn: role };
const clientToken = `${wanted.name}-token`;
const { studio } = await send("CreateStudio", { ...newStudio, clientToken });
const again = (await send("CreateStudio", { ...newStudio, clientToken })).studio;
const { studioId } = studio;
await wait("StudioReady", { studioId });
await listed("Studios", "studios", {});
await refused("CreateStudio", newStudio); // this client makes up no token of its own
await refused("StartStudioSSOConfigurationRepair", { studioId });
await refused("GetStudio", { studioId: "us-east-1:stid-0000000000000000" });
await refused("UpdateStudio", { studioId, displayName: "n".repeat(65) });
const member = { identityStoreId: "d-1", members: [{ principalId: "boss", persona: "ADMINISTRATOR" }] };
await send("PutStudioMembers", { studioId, ...member });
await listed("StudioMembers", "members", { studioId });
await send("TagResource", { resourceArn: studio.arn, tags: { a: "b", c: "d" } });
await send("UntagResource", { resourceArn: studio.arn, tagKeys: ["a"] });
const { tags } = await send("ListTagsForResource", { resourceArn: studio.arn });

const { streamingImage } = await send("CreateStreamingImage", { studioId, name: "image", ec2ImageId: wanted.ami });
const imageAt = { studioId, streamingImageId: streamingImage.streamingImageId };
await wait("StreamingImageReady", imageAt);
await listed("StreamingImages", "streamingImages", { studioId, owner: studioId });
const components = [];
for (const newComponent of wanted.components) {
  const { studioComponent } = await send("CreateStudioComponent", { studioId, ...newComponent });
  components.push(studioComponent.studioComponentId);
  await wait("StudioComponentReady", { studioId, studioComponentId: components.at(-1) });
}
const types = ["CUSTOM", "SHARED_FILE_SYSTEM"];
await listed("StudioComponents", "studioComponents", { studioId, types }, { pageSize: 1 });
const { launchProfile } = await send("CreateLaunchProfile", {
  studioId,
  name: "artists",
  ec2SubnetIds: [],
  launchProfileProtocolVersions: ["2021-03-31"],
  streamConfiguration: { ...wanted.stream, streamingImageIds: [imageAt.streamingImageId] },
  studioComponentIds: components,
});
const profileAt = { studioId, launchProfileId: launchProfile.launchProfileId };
await wait("LaunchProfileReady", profileAt);
const user = { identityStoreId: "d-1", members: [{ principalId: "artist", persona: "USER" }] };
await send("PutLaunchProfileMembers", { ...profileAt, ...user });
await listed("LaunchProfileMembers", "members", profileAt);
await listed("LaunchProfiles", "launchProfiles", { studioId, principalId: "artist", states: ["READY", "DELETED"] });
const details = await send("GetLaunchProfileDetails", profileAt);

await refused("CreateStreamingSession", { ...profileAt, ownedBy: "artist" }); // the agreement of the image comes first
const eulaIds = (await listed("Eulas", "eulas", {})).map((one) => one.eulaId);
await send("AcceptEulas", { studioId, eulaIds });
await listed("EulaAcceptances", "eulaAcceptances", { studioId, eulaIds });
const { session: { sessionId } } = await send("CreateStreamingSession", { ...profileAt, ownedBy: "artist" });
const sessionAt = { studioId, sessionId };

async function session() {
  const found = (await send("GetStreamingSession", sessionAt)).session;
  return Object.fromEntries(wanted.shown.map((name) => [name, String(found[name])]));
}

async function newStream() {
  const streamAt = { ...sessionAt, streamId: (await send("CreateStreamingSessionStream", { ...sessionAt, expirationInSeconds: 3600 })).stream.streamId };
  await wait("StreamingSessionStreamReady", streamAt);
  return (await send("GetStreamingSessionStream", streamAt)).stream.url;
}

await wait("StreamingSessionReady", sessionAt);
await tell("ready", { session: await session(), url: await newStream() });
await send("StopStreamingSession", sessionAt);
await tell("stopping");
await wait("StreamingSessionStopped", sessionAt);
const [backup] = await listed("StreamingSessionBackups", "streamingSessionBackups", { studioId });
await tell("stopped", { session: await session(), backup: backup.state });
await send("StartStreamingSession", sessionAt);
await wait("StreamingSessionReady", sessionAt);
await tell("started", { session: await session(), url: await newStream() });
await send("StopStreamingSession", sessionAt);
await wait("StreamingSessionStopped", sessionAt);
await send("StartStreamingSession", { ...sessionAt, backupId: backup.backupId });
await wait("StreamingSessionReady", sessionAt);
await listed("StreamingSessionBackups", "streamingSessionBackups", { studioId });
await listed("StreamingSessions", "sessions", { studioId, ownedBy: "artist" });
const isRestored = (await session()).startedFromBackupId === backup.backupId;
await tell("restored", { session: await session(), url: await newStream(), is_restored: isRestored });
await send("DeleteStreamingSession", sessionAt);
await wait("StreamingSessionDeleted", sessionAt);

await refused("DeleteStudioComponent", { studioId, studioComponentId: components[0] });
await send("DeleteLaunchProfile", profileAt);
await wait("LaunchProfileDeleted", profileAt);
for (const studioComponentId of components) {
  await send("DeleteStudioComponent", { studioId, studioComponentId });
  await wait("StudioComponentDeleted", { studioId, studioComponentId });
}
await send("DeleteStreamingImage", imageAt);
await wait("StreamingImageDeleted", imageAt);
await send("DeleteStudio", { studioId });
await wait("StudioDeleted", { studioId });

const exported = (start) => Object.keys(nimble).filter((name) => name.startsWith(start)).map((name) => name.slice(start.length));
await tell("deleted", {
  client: `JavaScript ${about.version}`,
  is_same: again.studioId === studioId,
  has_times: studio.createdAt instanceof Date,
  waited: [...waited].sort(),
  waiters: exported("waitUntil").sort(),
  pages,
  paginators: exported("paginateList").sort(),
  errors,
  tags,
  details: [details.streamingImages.length, details.studioComponentSummaries.length],
});
process.exit(0);
