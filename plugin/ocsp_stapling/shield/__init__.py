"""The shield: answers fetched ahead, kept, and handed to Apache at once by a relay on this machine."""
