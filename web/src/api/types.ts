/** The API's nouns, as the committed OpenAPI document says them. */
import type { components } from './schema'

type Schemas = components['schemas']

export type Chat = Schemas['ChatView']
export type Message = Schemas['MessageView']
export type Validation = Schemas['ValidationView']
export type Run = Schemas['RunView']
export type Approval = Schemas['ApprovalView']
export type User = Schemas['UserView']
export type Role = Schemas['RoleView']
export type Organization = Schemas['OrganizationView']
export type SignedIn = Schemas['SignedInView']
export type Posted = Schemas['PostedView']
export type Notification = Schemas['NotificationView']
export type Channel = Schemas['ChannelView']
export type AddedChannel = Schemas['AddedChannelView']
export type DeadLetter = Schemas['DeadLetterView']
export type Attempt = Schemas['AttemptView']
export type RunNow = Schemas['RunNowView']
export type CalendarEvent = Schemas['EventView']
export type NewEvent = Schemas['NewEvent']
export type Planned = Schemas['Planned']
export type OccurrenceView = Schemas['OccurrenceView']
export type Firing = Schemas['FiringView']
export interface Page<Item> {
  items: Item[]
  next_cursor: string | null
}
