// Checks the cards of messages for Teams (a JSON list on standard input) with the cards' own library: node cards.cjs NODE_MODULES
const { AdaptiveCard, SerializationContext } = require(`${process.argv[2]}/adaptivecards/dist/adaptivecards.js`);

/** The findings of the library: unknown elements, properties and values. */
function findings(content) {
  const card = new AdaptiveCard();
  const context = new SerializationContext();
  card.parse(content, context);
  const read = Array.from({ length: context.eventCount }, (_, n) => context.getEventAt(n));
  return [...read, ...card.validateProperties().validationEvents].map((event) => event.message);
}

const messages = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
const cards = messages.flatMap((message) => message.attachments.map((attachment) => attachment.content));
// The library finds what it is here for.
const wrong = findings({ type: 'AdaptiveCard', version: '1.4', body: [{ type: 'TextBlock', text: 'a', size: 'Huge' }, { type: 'Textblok' }] });
if (wrong.length !== 2) throw new Error(`two findings were expected: ${wrong}`);
for (const card of cards) {
  const found = findings(card);
  if (found.length > 0) throw new Error(`${found.join('; ')}: ${JSON.stringify(card)}`);
}
console.log(`valid: ${cards.length}`);
